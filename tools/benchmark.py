"""Measures the speed of a recipe of LAIP: training steps and encoding.

    python tools/benchmark.py                          # a step, beside the same in PyTorch
    python tools/benchmark.py --stage 1                # ITC + ITM only (ALBEF)
    python tools/benchmark.py --what encode            # images/s and captions/s
    python tools/benchmark.py --config configs/laip.py:cuhk_pedes-384x128 --batch 96 --no-torch

Random images, captions and vocabulary, so nothing is read or downloaded. A step is forward pass,
backward pass, AdamW, momentum update and queues. With PyTorch both frameworks start from the same
weights and get the same batch, negatives and masked words, in float32 without dropout on the same
number of threads; their losses must agree over three steps before anything is timed. Then they
take turns (A B B A ...) in one process, on one machine load. PyTorch is run eagerly, with its
fused attention and its fused AdamW.
"""

import argparse
import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs are found from any folder

from jaxreid.arguments import load_recipe  # noqa: E402
from jaxreid.data.text import load_tokenizer  # noqa: E402

_AGREEMENT = 1e-4  # largest relative difference of losses
_PAUSE_SECONDS = 0.2  # between turns: idle threads of the other framework stop spinning
_HUB_VOCABULARY = 30522  # of bert-base-uncased
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PAD, _CLS, _SEP = 0, 2, 3
# Options of the image-phrase stream that the PyTorch side has.
_TORCH_HAS = {
    "attention": "bidirectional",
    "reconstruction": "mpm",
    "word_score": "probability",
    "combine": "product",
    "normalise": "l1",
    "alignment": "cosine",
    "detach": True,
    "reduction": "mean",
}
_TIMED_BATCHES = 8  # of a round of --what encode


class Subject(NamedTuple):
    """What is measured: the JAX side of a recipe."""

    config: Any
    method: Any
    mesh: Any
    vocabulary: int


def main(arguments: list[str]) -> int:
    """Prints the measurements; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--config", default="configs/laip.py", help="a LAIP recipe")
    parser.add_argument("--what", choices=("step", "encode"), default="step")
    parser.add_argument("--stage", type=int, default=0, help="1 is the first; 0 is the last")
    parser.add_argument("--batch", type=int, default=0, help="0 is the recipe's")
    parser.add_argument("--steps", type=int, default=12, help="rounds that are timed")
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=2, help="of the CPU, for each framework")
    parser.add_argument("--vocabulary", type=int, default=0, help="0 is the recipe's")
    options = parser.parse_args(arguments)
    try:
        config = load_recipe(options.config)
        _check(config, options)
        prepare(config, options)
        limit_threads(options.threads)
        with tempfile.TemporaryDirectory() as folder:
            subject = make_subject(config, folder, options.vocabulary)
            measure = {"step": measure_step, "encode": measure_encode}
            measure[options.what](subject, options)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(f"peak memory of this process {peak:.2f} GiB; load average {_load()}")
    return 0


def prepare(config: Any, options: argparse.Namespace) -> None:
    """Sets what the benchmark fixes, in the config: see the head of this file."""
    config.train.batch_size = options.batch or config.train.batch_size
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1000
    if not options.vocabulary:
        options.vocabulary = _vocabulary(config)
    config.start = ""  # random weights take as long
    config.laip.queue_epochs = 0.0  # the queue acts at once
    if compares(options):
        config.model.dtype = "float32"
        config.model.bert.dropout = config.model.vit.dropout = config.model.vit.drop_path = 0.0


def _vocabulary(config: Any) -> int:
    """Size of the vocabulary that a recipe trains with."""
    if not config.text.tokenizer:
        return config.text.vocabulary
    if Path(config.text.tokenizer).is_dir():
        return load_tokenizer(config.text.tokenizer).vocabulary_size
    return _HUB_VOCABULARY


def compares(options: argparse.Namespace) -> bool:
    """Whether PyTorch is measured too."""
    return options.torch and options.what == "step"


def limit_threads(count: int) -> None:
    """Keeps this process to `count` processors; before jax and torch count them."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:count])
    os.environ["OMP_NUM_THREADS"] = str(count)


def make_subject(config: Any, folder: str, vocabulary: int) -> Subject:
    """The method of a config over all devices, with a made-up vocabulary in a folder."""
    import jax

    from jaxreid.config import check
    from jaxreid.mesh import make_mesh
    from jaxreid.methods import laip

    words = [*_SPECIAL, *(f"w{i}" for i in range(vocabulary - len(_SPECIAL)))]
    Path(folder, "vocab.txt").write_text("\n".join(words) + "\n")
    config.text.tokenizer = folder
    config.text.tagger = "lexicon"
    check(config, jax.device_count())
    devices = jax.devices()
    print(
        f"{len(devices)} x {devices[0].device_kind}, {len(os.sched_getaffinity(0))} threads, "
        f"jax {jax.__version__}, {config.model.dtype}, batch {config.train.batch_size}, images "
        f"{config.image.size[0]} x {config.image.size[1]}, vocabulary {vocabulary}; "
        f"load average {_load()}"
    )
    return Subject(config, laip.make(config), make_mesh(), vocabulary)


def random_batch(config: Any, vocabulary: int, size: int, rng: np.random.Generator) -> dict:
    """A training batch of made-up images and captions; a third of the phrases are absent."""

    def texts(rows: int, length: int) -> np.ndarray:
        lengths = rng.integers(min(length, 4), length + 1, rows)[:, None]
        tokens = rng.integers(len(_SPECIAL), vocabulary, (rows, length))
        place = np.arange(length)[None]
        tokens = np.where(place == 0, _CLS, np.where(place == lengths - 1, _SEP, tokens))
        return np.where(place < lengths, tokens, _PAD).astype(np.int32)

    count, length = config.laip.phrases, config.text.max_phrase_tokens
    phrases = texts(size * count, length)
    phrases[rng.permutation(len(phrases))[: len(phrases) // 3]] = _PAD
    inside = phrases >= len(_SPECIAL)
    words = np.where(inside, np.arange(length)[None] - 1, -1).astype(np.int32)
    batch = {
        "image": rng.integers(0, 256, (size, *config.image.size, 3), np.uint8),
        "tokens": texts(size, config.text.max_tokens),
        "person_id": np.arange(size, dtype=np.int32) // 2,
        "image_id": np.arange(size, dtype=np.int32),
        "phrase_tokens": phrases.reshape(size, count, length),
        "phrase_words": words.reshape(size, count, length),
    }
    if config.laip.reconstruction == "mlm":
        batch["words"] = np.where(batch["tokens"] >= len(_SPECIAL), 0, -1).astype(np.int32)
    return batch


def random_draws(batch: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Negatives of other people and one masked word a phrase, for both frameworks."""
    person = batch["person_id"]
    others = [np.flatnonzero(person != p) for p in person]
    if min(map(len, others)) == 0:
        raise ValueError(f"--batch must hold two people or more: at least 3, got {len(person)}")
    words = batch["phrase_words"].reshape(-1, batch["phrase_words"].shape[-1])
    chosen = np.floor(rng.random(len(words)) * (words.max(axis=1) + 1))
    return {
        "text_of": np.array([rng.choice(rows) for rows in others]),
        "image_of": np.array([rng.choice(rows) for rows in others]),
        "masked": (words == chosen[:, None]) & (words >= 0),
    }


@contextlib.contextmanager
def fixed_draws(draws: dict[str, np.ndarray]) -> Iterator[None]:
    """What is traced in this context takes given negatives and masks in place of drawing them."""
    import jax.numpy as jnp

    from jaxreid.losses.matching import Negatives
    from jaxreid.streams import image_phrase, image_text

    given = iter((draws["text_of"], draws["image_of"]))  # in the order of the stream

    def negatives(rng, logits, same_person, *, hardness):
        del rng, hardness
        return Negatives(jnp.asarray(next(given), jnp.int32), ~same_person.all(axis=1))

    with (
        mock.patch.object(image_text, "sample_negatives", negatives),
        mock.patch.object(
            image_phrase, "one_word_of_each", return_value=jnp.asarray(draws["masked"])
        ),
    ):
        yield


def measure_step(subject: Subject, options: argparse.Namespace) -> None:
    """Times the training step, alone or beside PyTorch."""
    import jax

    from jaxreid import optim
    from jaxreid.mesh import put_batch
    from jaxreid.train import init_on_mesh, jit_train_step

    config, rng = subject.config, np.random.default_rng(subject.config.seed)
    stages = len(config.train.epochs)
    stage = options.stage - 1 if options.stage else stages - 1
    tx, rate, groups = _optimiser(config, stage)
    host = random_batch(config, subject.vocabulary, config.train.batch_size, rng)
    batch = put_batch(subject.mesh, host)
    state = init_on_mesh(subject.method, tx, subject.mesh, config.seed)
    count = sum(x.size for x in jax.tree.leaves(state.params))
    print(f"stage {stage + 1} of {stages}, {count / 1e6:.2f} M parameters")
    step = jit_train_step(subject.method, tx, subject.mesh, stage)
    partner = None
    draws = contextlib.nullcontext()
    if compares(options):
        given = random_draws(host, rng)
        draws = fixed_draws(given)
        assigned = optim.assign_groups(state.params, groups)
        partner = _torch_step(subject, state, host, given, rate, assigned, stage == stages - 1)
    started = time.monotonic()
    with draws:
        compiled = step.lower(state, batch).compile()
    print(f"jax compiles the step in {time.monotonic() - started:.1f} s")
    kept = [state]

    def run() -> float:
        kept[0], metrics = compiled(kept[0], batch)
        return float(metrics["loss"])

    _check_losses(run, partner)
    times = _alternate([run] if partner is None else [run, partner], options.steps)
    _report_step(subject, compiled, times)


def _optimiser(config: Any, stage: int):
    """The optimiser of a stage as training has it, its rate and its groups."""
    from jaxreid import optim

    o = config.optim
    schedule = optim.Schedule(
        o.learning_rate, o.min_learning_rate, o.warmup_learning_rate, o.warmup_epochs, o.period
    )
    rate = optim.learning_rate(schedule, config.train.epochs[stage], config.train.steps_per_epoch)
    groups = tuple(optim.Group(*group) for group in o.groups)
    adam = optim.Adam(o.beta1, o.beta2, o.epsilon, o.clip_norm, 1)
    return optim.adamw(adam, groups, rate), rate, groups


def _torch_step(subject, state, host, given, rate, assigned, last: bool) -> Callable[[], float]:
    """The PyTorch side of a step: a function that takes one and returns its loss."""
    config = subject.config
    for name, value in _TORCH_HAS.items():
        if last and config.laip[name] != value:
            raise ValueError(
                f"the PyTorch side has laip.{name} {value!r} only, got {config.laip[name]!r}; "
                "give --no-torch, or --stage 1"
            )
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError(
            "PyTorch is not installed, which the comparison needs; give --no-torch to measure "
            "JAX alone, or install torch"
        ) from error
    import jax

    from jaxreid.optim import parameter_name
    from jaxreid.streams.image_text import global_settings
    from tools.torch_align_fuse import Draws, Trainer

    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, eager, {threads} threads")
    flat = jax.tree_util.tree_flatten_with_path(state.params)[0]
    params = {parameter_name(path): np.asarray(value) for path, value in flat}
    by_group = {}
    for (path, _), group in zip(
        flat, jax.tree.leaves(assigned, is_leaf=lambda x: hasattr(x, "pattern")), strict=True
    ):
        by_group.setdefault((group.rate, group.decay), []).append(parameter_name(path))
    trainer = Trainer(
        config,
        params,
        jax.device_get(state.memory),
        global_settings(config, config.laip),
        [(names, *key) for key, names in by_group.items()],
        _SPECIAL.index("[MASK]"),
    )
    batch = {
        name: torch.from_numpy(x if x.dtype == np.uint8 else x.astype(np.int64))
        for name, x in host.items()
    }
    draws = Draws(*(torch.from_numpy(given[name]) for name in Draws._fields))
    number = [0]

    def run() -> float:
        loss = trainer.step(batch, draws, number[0], float(rate(number[0])), last)
        number[0] += 1
        return loss

    return run


def _check_losses(run: Callable[[], float], partner: Callable[[], float] | None) -> None:
    """Takes three steps to warm up; their losses must agree.

    Raises:
      ValueError: they do not.
    """
    for number in range(3):
        loss = run()
        if partner is None:
            continue
        other = partner()
        difference = abs(loss - other) / abs(other)
        print(f"step {number + 1}: loss {loss:.6f}, torch {other:.6f}, apart {difference:.1e}")
        if not difference <= _AGREEMENT:
            raise ValueError(
                f"losses of step {number + 1} differ by {difference:.1e}, allowed {_AGREEMENT}"
            )


def _alternate(sides: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each call: in even rounds the first side begins, in odd ones the second."""
    times = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            if len(sides) > 1:
                time.sleep(_PAUSE_SECONDS)
            started = time.perf_counter()
            sides[i]()
            times[i].append(time.perf_counter() - started)
    return times


def _report_step(subject: Subject, compiled: Any, times: list[list[float]]) -> None:
    """Prints what a step takes, and ratios."""
    import jax

    from jaxreid.devices import peak_flops

    median = statistics.median(times[0])
    size = subject.config.train.batch_size
    print(f"jax   {summary(times[0])}, {size / median:.1f} examples/s")
    flops = (compiled.cost_analysis() or {}).get("flops")
    if flops:
        rate = flops * jax.device_count() / median
        peak = peak_flops(jax.devices())
        share = f", {100 * rate / peak:.1f} % of the peak in bfloat16" if peak else ""
        print(f"      {rate / 1e12:.3f} TFLOP/s as the compiler counts{share}")
    if len(times) > 1:
        print(f"torch {summary(times[1])}, {size / statistics.median(times[1]):.1f} examples/s")
        print(ratios(*times))


def summary(times: list[float]) -> str:
    """Median and range of times in seconds."""
    return (
        f"{1e3 * statistics.median(times):.1f} ms a step (median of {len(times)}, "
        f"{1e3 * min(times):.1f} to {1e3 * max(times):.1f})"
    )


def ratios(jax_times: list[float], torch_times: list[float]) -> str:
    """How much longer torch takes, of medians and of the pairs of a round."""
    pairs = [b / a for a, b in zip(jax_times, torch_times, strict=True)]
    whole = statistics.median(torch_times) / statistics.median(jax_times)
    return (
        f"torch / jax: {whole:.3f} of medians; of pairs {statistics.median(pairs):.3f} (median), "
        f"{min(pairs):.3f} to {max(pairs):.3f}; above 1 jax is faster"
    )


def measure_encode(subject: Subject, options: argparse.Namespace) -> None:
    """Times the two encoders of the gallery and of the queries, with what is copied back."""
    import jax

    from jaxreid.embed import embed

    config, method = subject.config, subject.method
    size = options.batch or config.eval.batch_size
    batch = random_batch(config, subject.vocabulary, size, np.random.default_rng(config.seed))
    params = jax.jit(method.init)(jax.random.key(config.seed))
    for name, encode, given in (
        ("images", method.encode_image, batch["image"]),
        ("captions", method.encode_query, {"tokens": batch["tokens"]}),
    ):

        def run(encode=encode, given=given):
            return embed(
                encode, params, [given] * _TIMED_BATCHES, size * _TIMED_BATCHES, subject.mesh,
                token_dtype=config.eval.token_dtype, keep_tokens=True,
            )  # fmt: skip

        run()
        _report_rate(name, size * _TIMED_BATCHES, _alternate([run], options.steps)[0])


def _report_rate(name: str, count: int, times: list[float]) -> None:
    """Prints items a second."""
    rates = [count / seconds for seconds in times]
    print(
        f"{statistics.median(rates):.1f} {name}/s (median of {len(rates)}, "
        f"{min(rates):.1f} to {max(rates):.1f})"
    )


def _check(config: Any, options: argparse.Namespace) -> None:
    """Raises ValueError for an option that cannot be."""
    if config.method != "laip":
        raise ValueError(f"--config must be a recipe of laip, got one of {config.method}")
    stages = len(config.train.epochs)
    if not 0 <= options.stage <= stages:
        raise ValueError(f"--stage must be in 0..{stages}, got {options.stage}")
    for name, low in (("batch", 0), ("steps", 1), ("threads", 1), ("vocabulary", 0)):
        value = getattr(options, name)
        if value < low:
            raise ValueError(f"--{name} must be >= {low}, got {value}")
    if 0 < options.vocabulary <= len(_SPECIAL):
        raise ValueError(f"--vocabulary must be > {len(_SPECIAL)}, got {options.vocabulary}")


def _load() -> str:
    """Load average of the machine over 1, 5 and 15 minutes."""
    return " ".join(f"{x:.2f}" for x in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
