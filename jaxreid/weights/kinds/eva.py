"""EVA-CLIP-g as LAVIS cuts it for BLIP-2: the image encoder that FAFA keeps frozen.

It fills the image encoder alone, but for its final norm: one file of several in `config.start`.
"""

from jaxreid.weights import query_former as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="eva",
    title="EVA-CLIP-g's eva_vit_g.pth (salesforce/LAVIS)",
    methods=("fafa",),
    entries=parts.eva(""),
    ranges=parts.RANGES,
    # BLIP-2 reads what comes before the last of 40 blocks, and norms it anew.
    unused=(r"blocks\.39\..*", r"(norm|fc_norm|head)\.(weight|bias)"),
    zeros=parts.ZEROS,
    positions=parts.POSITIONS,
    part=True,
)
