"""The table and the curves of finished runs that search by dialogues: scores over rounds.

    python tools/compare_rounds.py runs/diana-0 runs/diana-1 --out rounds.png

Runs that differ in their seed alone are one row: mean and standard deviation of the sample. A row
is named by what differs from the recipe.
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
    "dialogue.source", "dialogue.rounds", "diana.refiner", "diana.retain", "diana.inference",
    "diana.reduction", "diana.attributes", "diana.sdm", "diana.mask_rate",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and draws the curves; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--rounds", default="0,1,2,3,5", help="columns of R1; %(default)s")
    parser.add_argument("--out", help="picture of the curves, a PNG")
    options = parser.parse_args(arguments)

    from jaxreid.curve import Curve, save_curves

    try:
        columns = [int(turn) for turn in options.rounds.split(",")]
        rows: dict[str, list[dict[str, Any]]] = {}
        for run in options.runs:
            for name, found in read_run(run).items():
                rows.setdefault(name, []).append(found)
        print("\n".join(table(rows, columns)))
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
      ValueError: it does not search by dialogues.
    """
    from configs import diana
    from jaxreid.saved import run_config

    config = run_config(str(folder))
    if "dialogue" not in config:
        raise ValueError(f"{folder}: {config.method} does not search by dialogues")
    default = diana.get_config()
    different = [
        f"{field.split('.')[1]} {_value(config, field)}"
        for field in _FIELDS
        if _value(config, field) != _value(default, field)
    ]
    name, found = ", ".join(different) or "diana", {}
    for path in sorted(folder.glob("results*.json")):
        suffix = path.stem.removeprefix("results").replace("-", " ")
        found[f"{name}{',' if suffix else ''}{suffix}"] = json.loads(path.read_text())
    if not found:
        raise FileNotFoundError(f"{folder} has no results.json: its run has not ended")
    return found


def table(rows: dict[str, list[dict[str, Any]]], columns: list[int]) -> list[str]:
    """Returns the lines of a table in Markdown.

    Args:
      rows: name -> results of its runs.
      columns: rounds of which R1 is shown; a dialogue that has ended is read whole.
    """
    heads = [*(f"R1 after {turn}" for turn in columns), "R1", "R10", "mAP", "BRI", "rounds to R1"]
    lines = [f"| row | {' | '.join(heads)} | runs |", "|---" * (len(heads) + 2) + "|"]
    for name, runs in rows.items():
        values = [[_at(run["rounds"]["R1"], turn) for run in runs] for turn in columns]
        values += [[run["final"][score] for run in runs] for score in ("R1", "R10", "mAP")]
        values += [[run["rounds"].get(score) for run in runs] for score in ("BRI", "rounds_to_R1")]
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
    return config[section][name]


if __name__ == "__main__":
    sys.exit(main())
