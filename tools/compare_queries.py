"""Ranks by a photo, by words, by the mean of both and by the composed query of finished runs.

    python tools/compare_queries.py runs/word4per-0 runs/word4per-1 runs/word4per-2

Runs that differ in their seed alone are a row each form: mean and spread (standard deviation of the
population) over the seeds. What was ranked before is read from the results-FORM.json of the run.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SCORES = ("R1", "R5", "R10", "mAP")


def main(arguments: list[str] | None = None) -> int:
    """Ranks what was not ranked before and prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--data-dir", metavar="DIR", help="of prepared data, if not the run's")
    options = parser.parse_args(arguments)

    from jaxreid.saved import run_config

    try:
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for run in options.runs:
            config = run_config(str(run))
            if options.data_dir:
                config.data.data_dir = options.data_dir
            for form, fields in forms_of(config).items():
                rows.setdefault((title_of(config), form), []).append(ranked(config, run, fields))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print("\n".join(table(rows)))
    return 0


def forms_of(config: Any) -> dict[str, dict[str, Any]]:
    """Returns what is compared of a method: name -> fields of its section.

    Raises:
      ValueError: the method does not search by a photo plus words.
    """
    from jaxreid.parts import method_module

    module = method_module(config.method)
    if getattr(module, "QUERIES", "") != "triplets":
        raise ValueError(f"{config.method} does not search by a photo plus words")
    forms = {form: {"query": form} for form in module.FORMS}
    networks = tuple(config[config.method].get("inversions", ()))
    if len(networks) > 1:
        for name in networks:
            forms[f"composed, word of {name} alone"] = {"query": "composed", "fused": (name,)}
    return forms


def title_of(config: Any) -> str:
    """Returns what the runs of a row have in common."""
    networks = config[config.method].get("inversions", ())
    return " ".join([config.method, *(f"({name})" for name in networks)])


def ranked(config: Any, folder: Path, fields: dict[str, Any]) -> dict[str, float]:
    """Returns the final scores of a run ranked by some fields, ranking if nobody did before.

    Raises:
      FileNotFoundError: the run has not ended: it would be ranked by a checkpoint on its way.
    """
    from jaxreid.run import evaluate, results_of

    if not (folder / "results.json").is_file():
        raise FileNotFoundError(f"{folder} has no results.json: its run has not ended")
    chosen = config.copy_and_resolve_references()
    chosen[config.method].update(fields)
    path = folder / f"{results_of(chosen, str(folder))}.json"
    if path.is_file():
        return json.loads(path.read_text())["final"]
    return evaluate(chosen, str(folder))["final"]


def table(rows: dict[tuple[str, str], list[dict[str, float]]]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [f"| method | query | {' | '.join(SCORES)} | runs |", "|---" * (len(SCORES) + 3) + "|"]
    for (title, form), found in rows.items():
        cells = []
        for name in SCORES:
            values = np.array([scores[name] for scores in found])
            spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.2f}{spread}")
        lines.append(f"| {title} | {form} | {' | '.join(cells)} | {len(found)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
