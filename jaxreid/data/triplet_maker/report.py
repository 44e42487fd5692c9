"""Counts what each filter removes, with examples."""

from collections import Counter
from typing import Any

from jaxreid.data.triplet_maker.maker import Judged
from jaxreid.data.triplet_maker.records import Collection
from jaxreid.data.triplet_maker.verdict import FILTERS

_EXAMPLES = 3  # of what each filter removes, and of what is kept


class Report:
    """What came in, what each filter removed, what was kept; grows with `add`."""

    def __init__(self):
        self.references = 0  # images visited
        self.alone = 0  # of them, images whose body has no other outfit that fits
        self.proposed = 0
        self.kept = 0
        self.first = Counter()  # removed by this filter and by none before it
        self.measures = Counter()  # (filter, measure) of those removed first
        self.each = Counter()  # removed by this filter if it were alone
        self._examples: dict[str, list[dict[str, Any]]] = {}

    def add(self, judged: tuple[Judged, ...], collection: Collection) -> None:
        """Counts the candidates of one reference image."""
        self.references += 1
        self.alone += not judged
        for candidate in judged:
            self.proposed += 1
            drops = [verdict for verdict in candidate.verdicts if not verdict.keep]
            self.each.update(verdict.filter for verdict in drops)
            self.kept += not drops
            self.first.update(verdict.filter for verdict in drops[:1])
            self.measures.update((verdict.filter, verdict.measure) for verdict in drops[:1])
            self._keep_example(candidate, collection)

    def as_json(self) -> dict[str, Any]:
        """The counts and examples."""
        return {
            "reference_images": self.references,
            "without_another_outfit": self.alone,
            "proposed": self.proposed,
            "removed_first": {name: self.first[name] for name in FILTERS},
            "removed_first_by": {
                f"{name}: {measure}": count for (name, measure), count in self._by_measure()
            },
            "removed_alone": {name: self.each[name] for name in FILTERS},
            "kept": self.kept,
            "examples": {name: self._examples.get(name, []) for name in (*FILTERS, "kept")},
        }

    def as_text(self) -> str:
        """The same in lines to read."""
        lines = [
            f"reference images {self.references:,}, {self.alone:,} of them without another outfit",
            f"{'candidates':<24}{self.proposed:>10,}",
            f"{'':<24}{'first':>10}{'alone':>10}",
        ]
        for name in FILTERS:
            lines.append(f"{f'removed by {name}':<24}{self.first[name]:>10,}{self.each[name]:>10,}")
            lines += [
                f"  {measure:<22}{count:>10,}"
                for (owner, measure), count in self._by_measure()
                if owner == name
            ]
        share = f"   {100 * self.kept / self.proposed:.1f} %" if self.proposed else ""
        lines.append(f"{'kept':<24}{self.kept:>10,}{share}")
        for name in (*FILTERS, "kept"):
            for example in self._examples.get(name, []):
                reason = f" ({example['reason']})" if example["reason"] else ""
                lines.append(
                    f"  {name}: {example['reference']} -> {example['target']} "
                    f"{example['words']!r}{reason}"
                )
        return "\n".join(lines)

    def _by_measure(self) -> list[tuple[tuple[str, str], int]]:
        """((filter, measure), count), in the order of the filters and of the names."""
        order = {name: place for place, name in enumerate(FILTERS)}
        return sorted(self.measures.items(), key=lambda item: (order[item[0][0]], item[0][1]))

    def _keep_example(self, candidate: Judged, collection: Collection) -> None:
        """The first few of each filter, and of what is kept."""
        drop = next((verdict for verdict in candidate.verdicts if not verdict.keep), None)
        examples = self._examples.setdefault(drop.filter if drop else "kept", [])
        if len(examples) < _EXAMPLES:
            examples.append(
                {
                    "reference": collection.records[candidate.reference].file,
                    "target": collection.records[candidate.target].file,
                    "words": candidate.words,
                    "reason": drop.reason if drop else "",
                    "scores": {v.filter: round(v.score, 4) for v in candidate.verdicts},
                }
            )
