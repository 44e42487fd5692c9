"""Times re-ranking and counts its operations, pair by pair and with what pairs share.

    python tools/benchmark_rerank.py                          # 500 queries x 64 candidates
    python tools/benchmark_rerank.py --config configs/laip.py:cuhk_pedes-384x128 --queries 8

  plain   every pair by itself: it projects the keys and values of its image, and computes every
          row of the last layer
  shared  as evaluation does it: `match_image` once an image, then `match`, which computes in the
          last layer what the score reads

Random weights, tokens and candidates; nothing is read or downloaded. Both take turns in one
process (A B B A ...), and their scores must agree to 1e-5 of the largest before anything is timed.
FLOPs are those that XLA counts in the compiled programs.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs are found from any folder

from jaxreid.arguments import load_recipe  # noqa: E402

_AGREEMENT = 1e-5
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def main(arguments: list[str]) -> int:
    """Prints the measurements; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--config", default="configs/laip.py", help="a recipe that re-ranks")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--candidates", type=int, default=64, help="of each query")
    parser.add_argument("--gallery", type=int, default=800, help="images the candidates are of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=2000)
    options = parser.parse_args(arguments)
    try:
        _check(options)
        config = load_recipe(options.config)
        with tempfile.TemporaryDirectory() as folder:
            measure(config, folder, options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(config: Any, folder: str, options: argparse.Namespace) -> None:
    """Prints seconds and FLOPs of both ways."""
    import importlib

    import jax

    from jaxreid.mesh import make_mesh, put_replicated

    config.start = ""
    config.text.tokenizer = write_vocabulary(folder, options.vocabulary)
    config.text.tagger = "lexicon"
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1000
    config.eval.token_dtype = config.model.dtype
    method = importlib.import_module(f"jaxreid.methods.{config.method}").make(config)
    if method.match is None:
        raise ValueError(f"--config: {config.method} does not re-rank")
    mesh = make_mesh()
    params = put_replicated(mesh, jax.jit(method.init)(jax.random.key(config.seed)))
    queries, images, pairs = random_features(config, method, params, options)
    print(
        f"{config.method}: {options.queries} queries x {options.candidates} candidates of "
        f"{options.gallery} images, {images.tokens.shape[1]} image tokens, "
        f"{queries.tokens.shape[1]} text tokens, {config.model.dtype}, "
        f"{mesh.size} x {jax.devices()[0].device_kind}"
    )
    ways = {
        "plain": (plain_match(config, options.vocabulary), lambda params, images: images),
        "shared": (method.match, method.match_image),
    }
    compare(ways, params, queries, images, pairs, mesh, config, options)


def compare(ways, params, queries, images, pairs, mesh, config, options) -> None:
    """Checks that the ways agree, times them in turns and prints a table."""
    from jaxreid.rerank import PairBlocks, match_pairs

    c = config.eval
    blocks = PairBlocks(c.pair_batch, c.query_chunk, c.image_chunk)

    def run(name):
        started = time.perf_counter()
        scores = match_pairs(*ways[name], params, queries, images, pairs, mesh, blocks)
        return scores, time.perf_counter() - started

    scores = {name: run(name)[0] for name in ways}
    apart = np.abs(scores["plain"] - scores["shared"]).max() / np.abs(scores["plain"]).max()
    if config.model.dtype == "float32" and not apart <= _AGREEMENT:
        raise ValueError(f"plain and shared scores are {apart:.2g} of the largest apart")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(run(name)[1])
    operations = {
        name: count_flops(*way, params, queries, images, len(pairs), len(images.embedding))
        for name, way in ways.items()
    }
    print(f"largest difference of scores {apart:.1e} of the largest score")
    print("| way | seconds (median) | min - max | GFLOP | MFLOP a pair |")
    print("|---|---|---|---|---|")
    for name, times in seconds.items():
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} - {max(times):.2f} | "
            f"{operations[name] / 1e9:.2f} | {operations[name] / len(pairs) / 1e6:.3f} |"
        )
    ratio = statistics.median(seconds["plain"]) / statistics.median(seconds["shared"])
    print(
        f"plain / shared: {ratio:.2f} of seconds, "
        f"{operations['plain'] / operations['shared']:.2f} of FLOPs"
    )


def plain_match(config: Any, vocabulary: int):
    """A match that shares nothing between pairs and computes all rows of all layers."""
    if config.method == "cada":
        return _plain_decoder(config, vocabulary)

    from jaxreid.streams.network import make_align_fuse

    model = make_align_fuse(config, vocabulary)

    def match(params, queries, images):
        variables = {"params": params}
        fused, _ = model.apply(
            variables, queries.tokens, queries.mask, images.tokens, method="fuse"
        )
        return model.apply(variables, fused, method="match")[:, 1]

    return match


def _plain_decoder(config: Any, vocabulary: int):
    """`plain_match` of CADA, by its score of all token groups or of [CLS] alone."""
    import jax

    from jaxreid.streams import dual_network

    model = dual_network.make_dual_association(config, vocabulary)
    entry, score = dual_network.make_entry(config, vocabulary), config.cada.score

    def match(params, queries, images):
        if score == "groups":
            return dual_network.match(model, entry, params, queries, images.tokens, score=score)
        variables = {"params": params}
        fused = model.apply(variables, queries.tokens, queries.mask, images.tokens, method="decode")
        logits = model.apply(variables, fused[:, 0], method="match")
        return logits[:, 1] if score == "first_logit" else jax.nn.softmax(logits)[:, 1]

    return match


def count_flops(match, match_image, params, queries, images, pairs: int, gallery: int) -> float:
    """FLOPs of all images and all pairs, from those of one image and of one pair in a batch."""
    import jax

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis().get("flops", 0.0)

    rows = min(64, len(queries.embedding), gallery)
    some = [jax.tree.map(lambda x: x[:rows], features) for features in (queries, images)]
    prepared = jax.jit(match_image)(params, some[1])
    each_image = flops(match_image, params, some[1]) / rows
    each_pair = flops(match, params, some[0], prepared) / rows
    return each_image * gallery + each_pair * pairs


def random_features(config: Any, method: Any, params: Any, options: argparse.Namespace):
    """Features of random captions and images, and the candidate pairs, i32[n, 2]."""
    import jax

    rng = np.random.default_rng(config.seed)
    length = config.text.max_tokens
    tokens = rng.integers(len(_SPECIAL), options.vocabulary, (options.queries, length))
    tokens[:, 0] = _SPECIAL.index("[CLS]")
    used = rng.integers(length // 2, length + 1, (options.queries, 1))
    tokens = np.where(np.arange(length)[None] < used, tokens, 0).astype(np.int32)
    pixels = rng.integers(0, 256, (options.gallery, *config.image.size, 3), np.uint8)

    def encoded(encode, rows, size=32):
        encode = jax.jit(encode)
        starts = range(0, len(jax.tree.leaves(rows)[0]), size)
        parts = [encode(params, jax.tree.map(lambda x: x[i : i + size], rows)) for i in starts]  # noqa: B023
        return jax.tree.map(lambda *x: np.concatenate(x), *jax.device_get(parts))

    queries = encoded(method.encode_query, {"tokens": tokens})
    images = encoded(method.encode_image, pixels)
    choice = np.argsort(rng.random((options.queries, options.gallery)), axis=1)
    candidates = choice[:, : options.candidates]
    rows = np.repeat(np.arange(options.queries), options.candidates)
    return queries, images, np.stack([rows, candidates.ravel()], axis=1).astype(np.int32)


def write_vocabulary(folder: str, size: int) -> str:
    """Writes a vocabulary of made-up words, returns its folder."""
    words = [*_SPECIAL, *(f"w{i}" for i in range(size - len(_SPECIAL)))]
    Path(folder, "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for an option that cannot be."""
    for name, low in (("queries", 1), ("candidates", 1), ("gallery", 1), ("rounds", 1)):
        if getattr(options, name) < low:
            raise ValueError(f"--{name} must be >= {low}, got {getattr(options, name)}")
    if options.vocabulary <= len(_SPECIAL):
        raise ValueError(f"--vocabulary must be > {len(_SPECIAL)}, got {options.vocabulary}")
    if options.candidates > options.gallery:
        raise ValueError(
            f"--candidates must be at most --gallery {options.gallery}, got {options.candidates}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
