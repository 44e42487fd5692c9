"""Time and memory of ranking by several tokens an image, as FAFA does, at the size of ITCPR.

    python tools/benchmark_tokens.py
    python tools/benchmark_tokens.py --queries 1658 --images 3544       # TG-CPR
    python tools/benchmark_tokens.py --first 100 --decay 1 --alike 0.9  # a query at a time, too

Features are random. Prints seconds, the largest resident memory of the process, what the matrix of
all cosines would take, and how far a subset is from a plain computation; with --first also
milliseconds a query of a search that ends with its first images, with the exact prefilter of
jaxreid/search/token_gallery.py and without.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_SEARCHES = 20  # queries that are searched one at a time


def main() -> int:
    """Runs the ranking and prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=2202, metavar="Q")
    parser.add_argument("--images", type=int, default=20510, metavar="G")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="of an image; 32")
    parser.add_argument("--embedding", type=int, default=256, metavar="E")
    parser.add_argument("--top", type=int, default=6, help="tokens that count; 6")
    parser.add_argument("--token-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--image-chunk", type=int, default=512, help="images at a time; 512")
    parser.add_argument("--chunk", type=int, default=1024, help="queries at a time; 1024")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="images; 0: no search")
    parser.add_argument(
        "--decay", type=float, default=0.0,
        help="coordinate i shrinks by (i + 1) to this power, as training leaves few; 0: none",
    )  # fmt: skip
    parser.add_argument(
        "--alike", type=float, default=0.0,
        help="cosine of two tokens of an image, about, as training makes them alike; 0: none",
    )  # fmt: skip
    options = parser.parse_args()
    for name in ("queries", "images", "tokens", "embedding", "image_chunk", "chunk"):
        if getattr(options, name) < 1:
            print(f"error: --{name.replace('_', '-')} must be >= 1", file=sys.stderr)
            return 2
    if not 1 <= options.top <= options.tokens:
        print(f"error: --top must be in 1..{options.tokens}, got {options.top}", file=sys.stderr)
        return 2

    if not 0 <= options.alike <= 1:
        print(f"error: --alike must be in [0, 1], got {options.alike}", file=sys.stderr)
        return 2
    if not 0 <= options.first <= options.images:
        print(f"error: --first must be in 0..{options.images}", file=sys.stderr)
        return 2

    import jax.numpy as jnp

    from jaxreid.evaluate import similarity_matrix, top_k
    from jaxreid.losses.fda import token_similarity
    from jaxreid.mesh import make_mesh
    from jaxreid.methods import Features
    from jaxreid.metrics import ranking_metrics

    before = peak()
    queries, images = make_features(options, jnp.dtype(options.token_dtype))
    person_id = np.arange(options.images)

    def similarity(queries: Features, images: Features):
        return token_similarity(queries.embedding, images.tokens, options.top)

    mesh, started = make_mesh(), time.monotonic()
    matrix = similarity_matrix(
        similarity, queries, images, mesh, chunk=options.chunk, image_chunk=options.image_chunk
    )
    ranked = time.monotonic()
    ranking_metrics(matrix, np.arange(options.queries) % options.images, person_id)
    top_k(matrix, min(100, options.images))
    ended = time.monotonic()
    naive = options.queries * options.images * options.tokens * 4
    far = difference(matrix, queries, images, options.top)
    print(f"{options.queries} queries, {options.images} images of {options.tokens} tokens")
    print(f"similarity {ranked - started:.1f} s, metrics and the first 100 {ended - ranked:.1f} s")
    print(f"peak memory {peak() / 2**30:.2f} GiB, {before / 2**30:.2f} GiB before the features")
    print(f"all cosines at once would take {naive / 2**30:.2f} GiB")
    print(f"largest difference from the plain computation of a part: {far:.2g}")
    if options.first:
        print(search(queries.embedding[:_SEARCHES], images.tokens, options.top, options.first))
    return 0


def search(queries, tokens, top: int, count: int) -> str:
    """Returns what a search for the first images takes a query, with the prefilter and without."""
    import jax

    from jaxreid.losses.fda import token_similarity
    from jaxreid.search.token_gallery import first_images, token_gallery

    gallery = token_gallery(tokens)

    @jax.jit
    def plain(query):
        return jax.lax.top_k(token_similarity(query, gallery.tokens, top), count)

    def run(find):
        """Median milliseconds of a query, and the scores of all."""
        find(queries[:1])
        laps, scores = [], []
        for query in queries:
            started = time.monotonic()
            scores.append(np.asarray(find(query[None])[0]))
            laps.append(1e3 * (time.monotonic() - started))
        return np.median(laps), np.concatenate(scores)

    scored = []

    def prefiltered(query):
        first = first_images(query, gallery, top, count)
        scored.append(first.scored)
        return first.score, first.index

    slow, all_scores = run(plain)
    fast, scores = run(prefiltered)
    far = np.abs(scores - all_scores).max()
    return (
        f"first {count} of a query: {slow:.1f} ms by scoring all, {fast:.1f} ms with the prefilter "
        f"({np.mean(scored):.0f} images scored in full); largest difference {far:.2g}"
    )


def make_features(options, dtype):
    """Returns random unit features of queries and images, made in blocks."""
    from jaxreid.methods import Features

    rng = np.random.default_rng(0)

    scale = (1.0 + np.arange(options.embedding, dtype=np.float32)) ** -options.decay

    def unit(*shape):
        x = rng.standard_normal(shape, np.float32) * scale
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    own, common = (1 - options.alike) ** 0.5, options.alike**0.5
    tokens = np.empty((options.images, options.tokens, options.embedding), dtype)
    for start in range(0, options.images, 256):
        part = tokens[start : start + 256]
        mixed = own * unit(*part.shape) + common * unit(len(part), 1, options.embedding)
        part[:] = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    return Features(unit(options.queries, options.embedding)), Features(tokens[:, 0], tokens)


def difference(matrix, queries, images, top: int) -> float:
    """Returns the largest difference of some rows and columns from sorting, in float64."""
    rows, columns = slice(None, None, 97), slice(None, None, 211)
    cosines = np.einsum(
        "qe,gne->qgn",
        queries.embedding[rows].astype(np.float64),
        np.asarray(images.tokens[columns], np.float64),
    )
    plain = np.sort(cosines, axis=2)[:, :, -top:].mean(axis=2)
    return float(np.abs(matrix[rows, columns] - plain).max())


def peak() -> int:
    """Returns the largest resident memory of the process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
