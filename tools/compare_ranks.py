"""Draws the rank lists of two runs under each other, for queries in which they differ.

    python tools/compare_ranks.py runs/albef runs/laip --out picture.png
    python tools/compare_ranks.py RUN_A RUN_B --data icfg_pedes --pick random --out picture.png

Both runs must have ranked the same test split. A query shows its caption and the first images of
A and of B, right ones framed green. The picture says how many queries each run is better in: what
is picked as "better" is no fair sample.

Exit codes: 0, 2 (what a user can mend, in one sentence).
"""

import argparse
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jaxreid.sheet import SheetRow, save_sheet, stacked_sheet  # noqa: E402

PICKS = ("better", "worse", "random")
_TOP = 10
# What must be equal in two runs, and in words.
_SAME = {
    "gallery_file": "gallery files",
    "gallery_person_id": "people of the gallery",
    "query_caption": "captions",
    "query_person_id": "people of the queries",
}


class Ranked(NamedTuple):
    """What a run has ranked."""

    name: str  # of the run
    results: dict[str, Any]  # contents of results.json
    arrays: dict[str, np.ndarray]  # of rankings.npz
    first: np.ndarray  # i32[Q], rank of the first right image from 1; 0 if none is kept


def main(arguments: list[str]) -> int:
    """Draws the picture and prints the ranks of its queries; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("a", type=Path, metavar="RUN_A", help="folder of a run")
    parser.add_argument("b", type=Path, metavar="RUN_B", help="folder of another")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="picture to write, .png"
    )
    parser.add_argument(
        "--queries", type=int, default=6, metavar="N", help="how many, of different people; 6"
    )
    parser.add_argument(
        "--pick", choices=PICKS, default=PICKS[0],
        help="queries in which B is better than A, or worse, or random ones; better",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of --pick random; 0")
    parser.add_argument(
        "--data", metavar="NAME",
        help="data set, as icfg_pedes or synthpedes-tiny, that both were evaluated on; by default "
        "that of each run's training",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of prepared data; by default as RUN_A's results say",
    )
    options = parser.parse_args(arguments)
    try:
        if options.queries < 1:
            raise ValueError(f"--queries must be >= 1, got {options.queries}")
        if options.seed < 0:
            raise ValueError(f"--seed must be >= 0, got {options.seed}")
        if options.out.suffix.lower() != ".png":
            raise ValueError(f"--out must end in .png, got {str(options.out)!r}")
        a, b = (read_ranked(folder, options.data) for folder in (options.a, options.b))
        check_same(a, b)
        rng = np.random.default_rng(options.seed)
        picked = pick(a, b, options.pick, options.queries, rng)
        split = open_gallery(a, options.data_dir)
        draw(options.out, a, b, picked, options.pick, split.images)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print("\n".join(report(a, b, picked)))
    return 0


def read_ranked(folder: Path, data: str | None) -> Ranked:
    """Returns the rankings and results of a run.

    Args:
      folder: of the run.
      data: label of another data set that it was evaluated on; None for its own.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file cannot be read.
    """
    suffix = f"-{data}" if data and (folder / f"results-{data}.json").exists() else ""
    results, rankings = folder / f"results{suffix}.json", folder / f"rankings{suffix}.npz"
    for path in (results, rankings):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: is {folder} the folder of a finished run?")
    try:
        scores = json.loads(results.read_text())
        with np.load(rankings) as file:
            arrays = {key: file[key] for key in (*_SAME, "final")}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"the results in {folder} cannot be read: {error}") from error
    if "data" not in scores:
        raise ValueError(f"{results} does not say what was ranked; run --mode evaluate again")
    if data and data not in (label(scores), scores["data"]["name"]):
        raise FileNotFoundError(
            f"{folder} has no results on {data}, only on {', '.join(_evaluated(folder))}; "
            "tools/transfer.py makes them"
        )
    right = arrays["gallery_person_id"][arrays["final"]] == arrays["query_person_id"][:, None]
    first = np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)
    return Ranked(os.path.normpath(folder), scores, arrays, first)


def label(results: dict[str, Any]) -> str:
    """Returns the data set of results."""
    return "-".join(filter(None, (results["data"]["name"], results["data"]["variant"])))


def check_same(a: Ranked, b: Ranked) -> None:
    """Raises ValueError if two runs have not ranked the same queries and images in one order."""
    for key, words in _SAME.items():
        one, other = a.arrays[key], b.arrays[key]
        if np.array_equal(one, other):
            continue
        if len(one) != len(other):
            how = f"{len(one)} and {len(other)}"
        elif np.array_equal(np.sort(one), np.sort(other)):
            how = "the same in another order"
        else:
            how = f"{(one != other).sum()} of {len(one)} differ"
        raise ValueError(
            f"{a.name} ({label(a.results)}) and {b.name} ({label(b.results)}) have not ranked the "
            f"same: {words}: {how}"
        )


def pick(a: Ranked, b: Ranked, how: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the queries to show, at most one of a person.

    Args:
      a, b: the runs.
      how: "better" takes those in which B gains most, by the ratio of the ranks of the first
        right image; "worse" those in which it loses most; "random" any.
      count: at most so many.
      rng: of "random".

    Raises:
      ValueError: there is no such query.
    """
    ratio = rank_or_last(a) / rank_or_last(b)
    if how == "random":
        order = rng.permutation(len(ratio))
    else:
        gain = ratio if how == "better" else 1 / ratio
        order = np.argsort(-gain, kind="stable")
        order = order[gain[order] > 1]
    if not len(order):
        raise ValueError(f"in no query is {b.name} {how} than {a.name}")
    _, earliest = np.unique(a.arrays["query_person_id"][order], return_index=True)
    return order[np.sort(earliest)[:count]]


def rank_or_last(run: Ranked) -> np.ndarray:
    """f64[Q] ranks of the first right images; one beyond the kept ones where none is kept."""
    return np.where(run.first > 0, run.first, run.arrays["final"].shape[1] + 1).astype(float)


def open_gallery(run: Ranked, data_dir: str | None) -> Any:
    """Returns the split that a run has ranked.

    Raises:
      ValueError: the images are not those that were ranked.
    """
    from jaxreid.data.dataset import open_split

    data = run.results["data"]
    manual_dir = os.path.expanduser(data["manual_dir"])
    split = open_split(
        data["name"],
        data["split"],
        data_dir=data_dir or data["data_dir"],
        manual_dir=manual_dir if os.path.isdir(manual_dir) else None,  # else what was prepared
        variant=data["variant"] or None,
        allow_partial=data["allow_partial"],
        caption_limit=data["caption_limit"] or None,
        val_people=data["val_people"],
    )
    if list(split.files) != run.arrays["gallery_file"].tolist():
        raise ValueError(f"{label(run.results)} has other images now than {run.name} has ranked")
    return split


def draw(path: Path, a: Ranked, b: Ranked, picked: np.ndarray, how: str, images: Any) -> None:
    """Writes the picture.

    Args:
      path: of the PNG.
      a, b: the runs.
      picked: queries, from `pick`.
      how: they were picked.
      images: the gallery.
    """
    rows = [
        SheetRow(
            str(a.arrays["query_caption"][q]),
            int(a.arrays["query_person_id"][q]),
            {f"{x}  {r.name}: {_rank(r, q)}": r.arrays["final"][q] for x, r in _both(a, b)},
        )
        for q in picked
    ]
    shown = f"{len(picked)} {'random queries' if how == 'random' else f'in which B is {how}'} shown"
    title = [*_summary(a, b), shown]
    save_sheet(path, stacked_sheet(title, rows, images, a.arrays["gallery_person_id"], top=_TOP))


def report(a: Ranked, b: Ranked, picked: np.ndarray) -> list[str]:
    """Returns the lines that are printed."""
    lines = [*_summary(a, b), ""]
    for q in picked:
        ranks = "; ".join(f"{x} {_rank(run, q)}" for x, run in _both(a, b))
        lines.append(f"query {q}: {ranks}: {a.arrays['query_caption'][q]}")
    return lines


def _summary(a: Ranked, b: Ranked) -> list[str]:
    """What was ranked, the scores, and in how many queries each run is better."""
    results = a.results
    lines = [
        f"{label(results)} {results['data']['split']}: {results['queries']:,} queries, "
        f"{results['gallery']:,} images"
    ]
    for x, run in _both(a, b):
        scores = run.results["final"]
        values = "   ".join(f"{key} {scores[key]:.2f}" for key in ("R1", "R5", "R10", "mAP"))
        lines.append(f"{x}  {run.name}: {values}")
    one, other = rank_or_last(a), rank_or_last(b)
    better, worse = (other < one).sum(), (other > one).sum()
    equal = len(a.first) - better - worse
    lines.append(f"first right image: B earlier in {better:,}, A in {worse:,}, equal in {equal:,}")
    return lines


def _both(a: Ranked, b: Ranked) -> tuple[tuple[str, Ranked], tuple[str, Ranked]]:
    """The runs with their letters."""
    return ("A", a), ("B", b)


def _rank(run: Ranked, query: int) -> str:
    """Where the first right image of a query is."""
    if run.first[query]:
        return f"first right image at rank {run.first[query]}"
    return f"no right image in the first {run.arrays['final'].shape[1]}"


def _evaluated(folder: Path) -> list[str]:
    """Data sets that a run has results on."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("results*.json"))]
    return [label(results) for results in found if "data" in results]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
