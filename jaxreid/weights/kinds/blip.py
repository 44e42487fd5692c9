"""BLIP, pretrained (salesforce/BLIP, model_base.pth; models/blip_pretrain.py); CADA starts from it.

Encoder and decoder share all but the self-attention, and both keep a copy. The pretraining code
grows the vocabulary after the model is made: transformers then renews decoder.bias, which the
model computes with, and may leave the old, shorter predictions.bias beside it.
"""

from jaxreid.weights import dual_association
from jaxreid.weights.names import Kind

_OLD_BIAS = "text_decoder.cls.predictions.bias"

KIND = Kind(
    name="blip",
    title="a pretrained checkpoint of BLIP (model_base.pth of salesforce/BLIP)",
    methods=("cada",),
    entries=(
        *dual_association.encoders(),
        *(e for e in dual_association.decoder() if e.published != _OLD_BIAS),
    ),
    ranges=dual_association.RANGES,
    unused=(
        r"text_decoder\.cls\.predictions\.bias",
        *dual_association.MOMENTUM,
        *dual_association.QUEUES,
    ),
    fresh=(r"itm_local_head/.*",),
    spare=dual_association.SPARE,
    rows=dual_association.ROWS,
    added=dual_association.ADDED,
    positions=dual_association.POSITIONS,
)
