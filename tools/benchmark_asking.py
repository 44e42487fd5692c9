"""Compares what to ask next, and times a turn.

    python tools/benchmark_asking.py                      # drawn posteriors, milliseconds a turn
    python tools/benchmark_asking.py --run runs/clip      # and the posteriors of a run on its test

Every table has the Best log Rank Integral (BRI, nats, lower is better) and R@1 in percent after the
last question: mean and spread (standard deviation of the population) over the seeds. A seed draws
what is searched for, the words and the answers, the same for all policies; so the differences to
EIG, seed by seed, spread less than the scores. The belief starts from softmax(similarity /
temperature), the temperature of val.

Of a run (synthpedes), one description a person of test; the answers come

  known     through the channel of the scheme, which is known
  0.1/0.1   through the same channel, taken for 10 % wrong and 10 % unknown in every attribute
  witness   from the memory of a witness who saw the described picture (synthpedes, memory.py):
            wrong values are alike, what was not to be seen is unknown; the channel is that
            counted on val
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

IMAGES, QUERIES = 2_000, 400  # of drawn worlds
TIMED = ("eig", "eig top 100", "entropy", "random")
_ATTRIBUTES, _SPEED_VALUES = 12, 16
_SIGNAL = 2.0  # by which the words lift the person, in standard deviations of the similarity


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", metavar="DIR", help="folder of a trained run")
    parser.add_argument("--data-dir", default="", metavar="DIR", help="of prepared data")
    parser.add_argument("--cache", default="", metavar="DIR", help="folder of what is computed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6, help="questions, T")
    words = "what a search begins with; openings are the first that dialogues tell"
    parser.add_argument("--words", choices=("captions", "openings"), default="captions", help=words)
    parser.add_argument("--values", choices=("head", "prompts"), default="head")
    sizes = "sizes of the galleries that are timed"
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000], help=sizes)
    parser.add_argument("--no-drawn", action="store_true", help="leave out drawn posteriors")
    options = parser.parse_args(arguments)
    try:
        if options.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, got {options.seeds}")
        if options.run:
            compare_on_run(options)
        if not options.no_drawn:
            compare_on_drawn(options)
        for images in options.images:
            time_turns(images)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def compare_on_run(options: argparse.Namespace) -> None:
    """Prints the tables of a run."""
    import jax
    import jax.numpy as jnp

    from jaxreid.search.attributes import closing, labels_of, read_scheme, value_counts
    from jaxreid.search.belief import prior
    from jaxreid.search.channel import draw_answers, scheme_channel
    from jaxreid.search.fit import fit, gallery_posteriors, read_rows
    from jaxreid.search.gallery import index_split
    from jaxreid.search.load import load_run
    from jaxreid.search.posteriors import quality
    from jaxreid.search.simulate import Searches

    scheme, searcher = read_scheme(), load_run(options.run, data_dir=options.data_dir)
    counts = value_counts(scheme)
    cache = options.cache or str(Path(options.run) / "search")
    fitted = fit(searcher, scheme, options.values, cache)
    gallery = index_split(searcher, "test", cache)
    shown = gallery_posteriors(searcher, scheme, fitted, gallery)
    rows = read_rows(searcher, "test")
    labels = labels_of(scheme, rows.attributes, "synthpedes test")
    told = quality(shown, labels)
    image, similarity = _similarity(searcher, gallery, options.words)
    people = np.unique(gallery.person_id)
    print(
        f"{len(people)} people, {len(gallery.files)} images, {len(scheme.attributes)} attributes, "
        f"{options.words}; a {options.values} tells {100 * told.right.mean():.1f} % of the values "
        f"(the commonest value: {100 * told.majority.mean():.1f} %)"
    )
    channel, guessed = scheme_channel(scheme), _guessed(len(counts))
    counted = _counted_channel(scheme, read_rows(searcher, "val"), counts)
    found: dict[str, list] = {"known": [], "0.1/0.1": [], "witness": []}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        of = [rng.choice(np.flatnonzero(gallery.person_id[image] == person)) for person in people]
        searches = Searches(
            prior(jnp.asarray(similarity[of]), fitted.temperature),
            jnp.asarray(gallery.person_id[None, :] == people[:, None]),
            *map(jnp.asarray, (labels[image[of]], shown, counts, closing(scheme))),
        )
        drawn = draw_answers(jax.random.key(seed), searches.truth, searches.counts, channel)
        recalled = jnp.asarray(_witness_answers(scheme, rows, image[of], rng))
        for name, answers, assumed in (
            ("known", drawn, channel),
            ("0.1/0.1", drawn, guessed),
            ("witness", recalled, counted),
        ):
            found[name].append(_scores(searches, answers, assumed, options.rounds, seed))
    for name, scores in found.items():
        print(f"\n{Path(options.run).name}, channel {name}")
        print("\n".join(table(scores)))


def compare_on_drawn(options: argparse.Namespace) -> None:
    """Prints the tables of drawn posteriors."""
    import jax

    from jaxreid.search.channel import draw_answers

    for kind in ("equal", "unequal"):
        found: dict[str, list] = {"known": [], "0.1/0.1": []}
        for seed in range(options.seeds):
            searches, channel = drawn_world(np.random.default_rng(seed), kind == "unequal")
            answers = draw_answers(jax.random.key(seed), searches.truth, searches.counts, channel)
            for name, assumed in (("known", channel), ("0.1/0.1", _guessed(_ATTRIBUTES))):
                scores = _scores(searches, answers, assumed, options.rounds, seed)
                found[name].append(scores)
        for name, scores in found.items():
            if kind == "equal" and name != "known":
                continue  # it is 0.1/0.1
            print(
                f"\ndrawn posteriors, attributes of {kind} reliability, channel {name} "
                f"({IMAGES} images, {QUERIES} searches a seed)"
            )
            print("\n".join(table(scores)))


def drawn_world(rng: np.random.Generator, unequal: bool) -> tuple[Any, Any]:
    """Returns searches for people of one image each, and the channel of their witnesses.

    Attributes have 2 to 8 values, alike for people. Where reliability is unequal, what posteriors
    tell (0.35 to 0.98), and how often answers are wrong (0.02 to 0.4) and unknown (0 to 0.5), is
    drawn for each attribute, whatever its number of values.

    Args:
      rng: of everything.
      unequal: whether attributes differ in reliability; else 0.85, 0.1 and 0.1.
    """
    import jax.numpy as jnp

    from jaxreid.search.channel import Channel
    from jaxreid.search.simulate import Searches

    counts = rng.integers(2, 9, _ATTRIBUTES).astype(np.int32)
    shape = (_ATTRIBUTES,)
    sure, wrong, unknown = np.full(shape, 0.85), np.full(shape, 0.1), np.full(shape, 0.1)
    if unequal:
        sure = rng.uniform(0.35, 0.98, shape)
        wrong, unknown = rng.uniform(0.02, 0.4, shape), rng.uniform(0.0, 0.5, shape)
    sure = np.maximum(sure, 1 / counts)
    truth = (rng.random((IMAGES, _ATTRIBUTES)) * counts).astype(np.int32)
    # The likeliest value is the true one as often as the posterior says: they are calibrated.
    told = np.where(rng.random(truth.shape) < sure, truth, _another(rng, truth, counts))
    real = np.arange(counts.max()) < counts[:, None]
    shown = np.where(real, ((1 - sure) / (counts - 1))[:, None], 0.0)[None].repeat(IMAGES, axis=0)
    np.put_along_axis(shown, told[..., None], sure[None, :, None].repeat(IMAGES, axis=0), axis=2)
    target = rng.choice(IMAGES, QUERIES, replace=False)
    similarity = rng.standard_normal((QUERIES, IMAGES))
    similarity[np.arange(QUERIES), target] += _SIGNAL
    # With unit noise on all images and the target lifted by d, the posterior is softmax(d s).
    log_prior = _SIGNAL * similarity
    log_prior -= np.log(np.exp(log_prior).sum(axis=1, keepdims=True))
    arrays = (
        log_prior.astype(np.float32), np.arange(IMAGES)[None] == target[:, None], truth[target],
        shown.astype(np.float32), counts, np.zeros((_ATTRIBUTES, counts.max(), _ATTRIBUTES), bool),
    )  # fmt: skip
    channel = Channel(*(jnp.asarray(x, jnp.float32) for x in (wrong, unknown)))
    return Searches(*map(jnp.asarray, arrays)), channel


def time_turns(images: int) -> None:
    """Prints the milliseconds from an answer to the ranking and the next question."""
    import jax.numpy as jnp

    from jaxreid.search import session
    from jaxreid.search.attributes import Attribute, Scheme, Value
    from jaxreid.search.channel import scheme_channel
    from jaxreid.search.desk import Desk, Stopping, look
    from jaxreid.search.gallery import Gallery
    from jaxreid.search.policies import POLICIES, make_world

    rng, attributes, values = np.random.default_rng(0), 30, _SPEED_VALUES
    named = tuple(Value(f"value {v}", "", (f"value {v}",)) for v in range(values))
    scheme = Scheme("timed", tuple(
        Attribute(f"a{a}", f"a{a}", "?", named, 0.1, 0.1, ()) for a in range(attributes)
    ), "t")  # fmt: skip
    shown = rng.gamma(0.5, size=(images, attributes, values)).astype(np.float32) + 1e-6
    shown /= shown.sum(axis=2, keepdims=True)
    counts = jnp.full(attributes, values, jnp.int32)
    world = make_world(jnp.asarray(shown), counts, scheme_channel(scheme))
    scores = rng.standard_normal((1, images)).astype(np.float32)
    gallery = Gallery((), ("",) * images, np.zeros((images, 1), np.float32), None, "g")
    for name in TIMED:
        desk = Desk(
            gallery, scheme, world, np.zeros((attributes, values, attributes), bool), 0.3,
            lambda told: scores, POLICIES[name], Stopping(),
        )  # fmt: skip
        taken = []
        for repeat in range(6):
            search = session.begin("g", scheme, "somebody")
            for _ in range(12):
                started = time.perf_counter()
                view = look(desk, search, _key(repeat))
                taken.append(1e3 * (time.perf_counter() - started))
                asked, value = view.question.attribute, f"value {rng.integers(values)}"
                search = session.answer(search, scheme, asked, [value])
        taken = np.array(taken[12:])  # the first search compiles
        print(
            f"\n{images:,} images x {attributes} attributes x {values} values, {name}: "
            f"{np.median(taken):.1f} ms a turn (median of {len(taken)}; 95 %: "
            f"{np.quantile(taken, 0.95):.1f})",
            end="",
        )
    print()


def table(found: list[dict[str, dict[str, float]]]) -> list[str]:
    """Returns the lines of a table in Markdown: a row a policy, of the scores of each seed."""
    lines = ["| policy | BRI | BRI - that of eig | R1 after the last |", "|---|---|---|---|"]
    for name in found[0]:
        bri, behind, recall = (
            np.array([take(scores) for scores in found])
            for take in (
                lambda scores, name=name: scores[name]["BRI"],
                lambda scores, name=name: scores[name]["BRI"] - scores["eig"]["BRI"],
                lambda scores, name=name: scores[name]["R1"],
            )
        )
        lines.append(
            f"| {name} | {bri.mean():.3f} ± {bri.std():.3f} | {behind.mean():+.3f} ± "
            f"{behind.std():.3f} | {recall.mean():.1f} ± {recall.std():.1f} |"
        )
    return lines


def _scores(searches, answers, assumed, rounds: int, seed: int) -> dict[str, dict[str, float]]:
    """BRI and R1 of every policy, and of the words alone."""
    from jaxreid.search.policies import POLICIES
    from jaxreid.search.simulate import compare, summary

    traces = compare(searches, POLICIES, answers=answers, assumed=assumed, rounds=rounds, seed=seed)
    start = np.asarray(traces["eig"].ranks)[0]
    alone = {"BRI": float(np.log(start).mean()), "R1": float(100 * (start == 1).mean())}
    return {"no question": alone, **{name: summary(trace) for name, trace in traces.items()}}


def _similarity(searcher, gallery, words: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of all descriptions of test, i32[Q], and f32[Q, N] of those to the gallery."""
    import jax.numpy as jnp

    from jaxreid.data.dialogues import Dialogue
    from jaxreid.methods import Features
    from jaxreid.search.fit import captions_of
    from jaxreid.search.load import score

    if words == "captions":
        texts, image, _ = captions_of(searcher, "test")
    else:
        split = searcher.parts.split("test")
        if split.dialogues is None:
            raise ValueError(f"{split.data_set} test has no dialogues to take openings of")
        said = [(i, d) for i, all_of in enumerate(split.dialogues) for d in all_of]
        image = np.array([i for i, _ in said], np.int32)
        texts = [dialogue.opening or dialogue.rounds[0].answer for _, dialogue in said]
    told = [Dialogue((), text) for text in texts]
    return image, score(searcher, told, Features(jnp.asarray(gallery.embedding)))


def _witness_answers(scheme, rows, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """i32[Q, A], what somebody recalls who saw each image; -1 for what is not told."""
    from jaxreid.data.synthpedes.memory import remember

    out = np.full((len(image), len(scheme.attributes)), -1, np.int32)
    for q, i in enumerate(image):
        seen = {a: rows.attributes[i][a] for a in sorted(rows.shown[i])}
        memory = remember(seen, rng)
        for a, attribute in enumerate(scheme.attributes):
            recalled = memory.get(attribute.name)
            if recalled is not None and recalled.firm:
                out[q, a] = attribute.index(recalled.value)
    return out


def _counted_channel(scheme, rows, counts: np.ndarray):
    """The channel of witnesses of val, who are asked everything."""
    from jaxreid.search.attributes import labels_of
    from jaxreid.search.channel import estimate_channel

    truth = labels_of(scheme, rows.attributes, "synthpedes val")
    answers = _witness_answers(scheme, rows, np.arange(len(truth)), np.random.default_rng(0))
    right, unknown = (answers == truth).sum(axis=0), (answers < 0).sum(axis=0)
    return estimate_channel(right, len(truth) - right - unknown, unknown, counts)


def _another(rng: np.random.Generator, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values drawn among the others."""
    return (truth + 1 + (rng.random(truth.shape) * (counts - 1)).astype(np.int32)) % counts


def _guessed(attributes: int):
    """The channel of somebody who knows nothing of witnesses."""
    import jax.numpy as jnp

    from jaxreid.search.channel import Channel

    return Channel(jnp.full(attributes, 0.1), jnp.full(attributes, 0.1))


def _key(seed: int):
    """A key."""
    import jax

    return jax.random.key(seed)


if __name__ == "__main__":
    sys.exit(main())
