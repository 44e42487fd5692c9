"""The table and the curves of finished runs that search by dialogues: scores over rounds.

    python tools/compare_rounds.py runs/diana-0 runs/diana-1 --out rounds.png

Runs that differ in their seed alone are one row: mean and standard deviation of the sample. A row
is named by what differs from the recipe. With --minus-first the other rows are also shown as what
they are above the first, seed by seed, which leaves out what a seed does to both.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# What a row may differ in, beside its seed.
_FIELDS = (
    "dialogue.source", "dialogue.rounds", "dialogue.per_image", "diana.refiner", "diana.retain",
    "diana.inference", "diana.reduction", "diana.attributes", "diana.sdm", "diana.mask_rate",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and draws the curves; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--rounds", default="0,1,2,3,5", help="columns of --score; %(default)s")
    parser.add_argument(
        "--score", default="R1", choices=("R1", "R5", "R10", "mAP", "mean_rank"), help="%(default)s"
    )
    parser.add_argument("--minus-first", action="store_true", help="a table of differences, too")
    parser.add_argument("--out", help="picture of the curves, a PNG")
    options = parser.parse_args(arguments)

    from jaxreid.curve import Curve, save_curves

    try:
        columns = [int(turn) for turn in options.rounds.split(",")]
        rows: dict[str, list[dict[str, Any]]] = {}
        for run in options.runs:
            for name, found in read_run(run).items():
                rows.setdefault(name, []).append(found)
        print("\n".join(table(rows, columns, options.score)))
        if options.minus_first:
            print("\n".join(["", *table(minus_first(rows), columns, options.score)]))
        if options.out:
            curves = [
                Curve(name, [found["rounds"] for found in runs]) for name, runs in rows.items()
            ]
            save_curves(options.out, "R@k and mAP over rounds", curves)
            print(f"curves: {options.out}")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def read_run(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the results of a run by the name of their row: ranked as trained, and otherwise.

    Raises:
      FileNotFoundError: there is no run, or it has no results.
      ValueError: it does not search by dialogues, or lacks a field.
    """
    from configs import diana
    from jaxreid.saved import read_saved, run_config

    config = run_config(str(folder))
    if "dialogue" not in config:
        raise ValueError(f"{folder}: {config.method} does not search by dialogues")
    default = diana.get_config()
    start = Path(read_saved(str(folder))["start"]).name
    different = [f"start {start}"] if start != Path(default.start).name else []
    different += [
        f"{field.split('.')[1]} {_value(config, field)}"
        for field in _FIELDS
        if _value(config, field) != _value(default, field)
    ]
    name, found = ", ".join(different) or "diana", {}
    for path in sorted(folder.glob("results*.json")):
        suffix = path.stem.removeprefix("results").replace("-", " ")
        found[f"{name}{',' if suffix else ''}{suffix}"] = json.loads(path.read_text())
    for results in found.values():
        results["seed"] = config.seed
    if not found:
        raise FileNotFoundError(f"{folder} has no results.json: its run has not ended")
    return found


def minus_first(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows behind the first with its scores taken from theirs, of runs of equal seeds.

    Raises:
      ValueError: there is no other row, a row has no run of a seed of the first, or two runs of the
        first have the same seed.
    """
    (first, runs), *others = rows.items()
    if not others:
        raise ValueError(f"--minus-first needs a second row, got runs of {first} alone")
    base = {run["seed"]: run for run in runs}
    if len(base) < len(runs):
        raise ValueError(f"two runs of {first} have the same seed: {[r['seed'] for r in runs]}")
    found = {}
    for name, other in others:
        pairs = [(run, base[run["seed"]]) for run in other if run["seed"] in base]
        if not pairs:
            raise ValueError(
                f"the runs of {name} have seeds {sorted(run['seed'] for run in other)}, those of "
                f"{first} {sorted(base)}: none is equal"
            )
        found[f"{name}, above {first}"] = [
            {part: _difference(run[part], of[part]) for part in ("final", "rounds")}
            for run, of in pairs
        ]
    return found


def _difference(scores: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Scores above others; of rounds as far as both have them."""
    found = {}
    for name in scores.keys() & base.keys():
        x, y = scores[name], base[name]
        several = isinstance(x, list)
        found[name] = [a - b for a, b in zip(x, y, strict=False)] if several else x - y
    return found


def table(
    rows: dict[str, list[dict[str, Any]]], columns: list[int], score: str = "R1"
) -> list[str]:
    """Returns the lines of a table in Markdown.

    Args:
      rows: name -> results of its runs.
      columns: rounds of which a score is shown; a dialogue that has ended is read whole.
      score: which.
    """
    last = ["R1", "R10", "mAP", "BRI", "rounds to R1"]
    heads = [*(f"{score} after {turn}" for turn in columns), *last]
    lines = [f"| row | {' | '.join(heads)} | runs |", "|---" * (len(heads) + 2) + "|"]
    for name, runs in rows.items():
        values = [[_at(run["rounds"][score], turn) for run in runs] for turn in columns]
        values += [[run["final"][one] for run in runs] for one in last[:3]]
        values += [[run["rounds"].get(one) for run in runs] for one in ("BRI", "rounds_to_R1")]
        cells = [_cell(found) for found in values]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
    return lines


def _at(rounds: list[float], turn: int) -> float | None:
    """A score after some rounds; None where no dialogue has any."""
    if len(rounds) == 1 and turn:
        return None
    return rounds[min(turn, len(rounds) - 1)]


def _cell(found: list[float | None]) -> str:
    """Mean and standard deviation."""
    if any(value is None for value in found):
        return "-"
    values = np.array(found)
    spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread}"


def _value(config: Any, field: str) -> Any:
    """A field by its whole name."""
    section, name = field.split(".")
    if name not in config[section]:
        raise ValueError(f"config.{field} is missing in a run: another version made it")
    return config[section][name]


if __name__ == "__main__":
    sys.exit(main())
