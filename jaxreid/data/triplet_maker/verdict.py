"""What a filter says of a candidate."""

from typing import NamedTuple

FILTERS = ("quality", "identity", "alignment", "inferability")  # in the order of the pipeline


class Verdict(NamedTuple):
    """Keep or drop, and why."""

    filter: str  # one of FILTERS
    score: float  # what was compared with the threshold
    keep: bool
    reason: str  # of a drop, a few words; "" if kept
    measure: str = ""  # which of the filter's measures `score` is


def weakest(*verdicts: Verdict) -> Verdict:
    """Returns the first drop among the verdicts of one filter, or the first if all keep."""
    return next((verdict for verdict in verdicts if not verdict.keep), verdicts[0])
