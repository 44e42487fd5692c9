"""A picture of scores over the rounds of a dialogue."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np

from jaxreid.files import write_atomic

_SHOWN = ("R1", "R5", "R10", "mAP")


class Curve(NamedTuple):
    """The rounds of one or several runs of a method."""

    name: str
    rounds: Sequence[Mapping[str, Sequence[float]]]  # of each run, see `round_metrics`


def save_curves(path: str, title: str, curves: Sequence[Curve]) -> None:
    """Draws R1, R5, R10 and mAP in percent over rounds: the mean of runs, and their deviation.

    Args:
      path: of a PNG.
      title: above it.
      curves: at least one; the runs of one have equally many rounds.

    Raises:
      ValueError: runs of unequal rounds; names the curve.
      OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # half a second that only a picture needs

    figure = Figure(figsize=(3.2 * len(_SHOWN), 3.2), layout="constrained")
    for axes, score in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        for name, rounds in curves:
            lengths = {len(run[score]) for run in rounds}
            if len(lengths) > 1:
                raise ValueError(f"the runs of {name} have unequal rounds: {sorted(lengths)}")
            values = np.array([run[score] for run in rounds])
            mean = values.mean(axis=0)
            (line,) = axes.plot(mean, marker="o", markersize=3, label=name)
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                axes.fill_between(
                    range(len(mean)), mean - spread, mean + spread, alpha=0.2,
                    color=line.get_color(),
                )  # fmt: skip
        axes.set(title=f"{score} in percent", xlabel="rounds answered", ylim=(0, 100))
        axes.grid(alpha=0.3)
    if len(curves) > 1:
        figure.axes[0].legend(fontsize=8)
    figure.suptitle(title)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    write_atomic(path, out.getvalue())
