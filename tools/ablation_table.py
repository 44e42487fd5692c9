"""The table of an ablation, from the results of its runs."""

import json
import statistics
from pathlib import Path
from typing import Any

from tools.ablation_rows import LAIP, CadaRow, Row, Study

SCORES = ("R1", "mAP")


def collect(
    out: Path, rows: list[str], seeds: list[int], study: Study = LAIP
) -> list[dict[str, Any]]:
    """Returns the row of each finished name in the table.

    Scores are in percent: values in the order of "seeds", their mean and their sample standard
    deviation (None of one). "gain" is final R1 over that of the baseline row with the same seed.
    "minutes" are those of training alone, without compilation and evaluation.
    """
    runs = {row: {s: _row_results(out, study.rows[row], row, s) for s in seeds} for row in rows}
    baseline = {s: r["final"]["R1"] for s, r in runs.get(study.baseline, {}).items() if r}
    table = []
    for row in rows:
        found = {s: r for s, r in runs[row].items() if r}
        if not found:
            continue
        entry = {"row": row, "published_R1": study.rows[row].published, "seeds": list(found)}
        for block in ("final", "coarse"):
            for score in SCORES:
                entry[f"{block}_{score}"] = _spread([r[block][score] for r in found.values()])
        gains = [r["final"]["R1"] - baseline[s] for s, r in found.items() if s in baseline]
        entry["gain"] = _spread(gains) if gains else None
        entry["steps"] = max(r["steps"] for r in found.values())
        entry["minutes"] = statistics.mean(r["minutes"] for r in found.values())
        table.append(entry)
    return table


def render(table: list[dict[str, Any]], title: str, study: Study = LAIP) -> str:
    """Returns the table in Markdown."""
    lines = [
        f"{title}. Mean ± sample standard deviation over seeds, in percent, on test; gain: final",
        f"R@1 over row {study.baseline} of the same seed; minutes of training, without compilation",
        f"and evaluation. {study.note}",
        "",
        "| row | published | R@1 | gain | mAP | coarse R@1 | coarse mAP | seeds | steps | min |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in table:
        scores = [
            entry[key] for key in ("final_R1", "gain", "final_mAP", "coarse_R1", "coarse_mAP")
        ]
        cells = [
            entry["row"],
            "-" if entry["published_R1"] is None else f"{entry['published_R1']:.2f}",
            *map(_shown, scores),
            ", ".join(map(str, entry["seeds"])),
            str(entry["steps"]),
            f"{entry['minutes']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _row_results(out: Path, row: Row | CadaRow, name: str, seed: int) -> dict[str, Any] | None:
    """The results of a row; "final" are those it is ranked by."""
    if isinstance(row, Row):
        return _results(out / f"{name}-seed{seed}")
    folder = name if row.top_k is not None else row.training
    found = _results(out / f"{folder}-seed{seed}")
    return found and {**found, "final": found[row.scores]}


def _results(folder: Path) -> dict[str, Any] | None:
    """Scores, steps and minutes of a finished run, None of another."""
    if not (folder / "results.json").exists():
        return None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        **json.loads((folder / "results.json").read_text()),
        "steps": max(line["step"] for line in lines),
        "minutes": sum(line.get("seconds", 0) for line in lines) / 60,
    }


def _spread(values: list[float]) -> dict[str, Any]:
    """Values with their mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"values": values, "mean": statistics.mean(values), "deviation": deviation}


def _shown(spread: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if spread is None:
        return "-"
    if spread["deviation"] is None:
        return f"{spread['mean']:.2f}"
    return f"{spread['mean']:.2f} ± {spread['deviation']:.2f}"
