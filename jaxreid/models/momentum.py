"""Momentum (exponential moving average) copies of weights, as in MoCo and ALBEF."""

from typing import Any

import jax

Params = Any  # nested dict of arrays


def ema(old: Params, new: Params, decay: float) -> Params:
    """Returns decay * old + (1 - decay) * new, leaf by leaf, in the dtype of `old`.

    Args:
      old: the momentum weights.
      new: the trained weights, of the same tree.
      decay: in [0, 1]; ALBEF uses 0.995.

    Raises:
      ValueError: the trees differ or decay is outside [0, 1].
    """
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay must be in [0, 1], got {decay}")
    return jax.tree.map(lambda o, n: (decay * o + (1.0 - decay) * n).astype(o.dtype), old, new)
