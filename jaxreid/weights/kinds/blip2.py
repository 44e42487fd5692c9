"""BLIP-2 after its first stage (LAVIS): the Q-Former with its heads, with or without EVA-CLIP-g."""

from jaxreid.weights import query_former as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="blip2",
    title="BLIP-2's blip2_pretrained.pth of the first stage (salesforce/LAVIS)",
    methods=("fafa",),
    entries=(*parts.eva("visual_encoder."), *parts.heads()),
    ranges=parts.RANGES,
    unused=parts.UNUSED,
    # The frozen encoder may be in a file of its own, kind eva; the predictor is FAFA's.
    fresh=(r"vit/(?!norm/).*", r"predictor/.*"),
    zeros=parts.ZEROS,
    rows=parts.ROWS,
    added=parts.ADDED,
    positions=parts.POSITIONS,
)
