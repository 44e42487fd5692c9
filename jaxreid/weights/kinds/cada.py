"""CADA (LinDixuan/CADA, models/cada.py): BLIP with a head of token groups, 799 keys."""

from jaxreid.weights import blocks, dual_association
from jaxreid.weights.names import Kind

KIND = Kind(
    name="cada",
    title="a checkpoint of CADA (LinDixuan/CADA)",
    methods=("cada",),
    entries=(
        *dual_association.encoders(),
        *dual_association.decoder(),
        *blocks.linear("itm_local_head", "itm_local_head"),
    ),
    ranges=dual_association.RANGES,
    spare=dual_association.SPARE,
    rows=dual_association.ROWS,
    added=dual_association.ADDED,
    positions=dual_association.POSITIONS,
)
