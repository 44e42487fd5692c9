"""Swin Transformer V2 alone, as transformers saves a Swinv2Model."""

from jaxreid.weights import dialogue_alignment as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="swin_model",
    title="a Swinv2Model of transformers",
    methods=("diana",),
    entries=parts.swin(""),
    unused=(parts.COUNTED,),
)
