"""Swin Transformer V2 as the hub has it: the file that DiaNA's release starts from.

It fills the image encoder alone: one file of several in `config.start`. transformers' Swinv2Model
saves the same without "swinv2." in front.
"""

from jaxreid.weights import dialogue_alignment as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="swin",
    title="a Swin-V2 of the hub (microsoft/swinv2-base-patch4-window12-192-22k)",
    methods=("diana",),
    entries=parts.swin("swinv2."),
    also=parts.swin(""),
    unused=(r"classifier\.(weight|bias)", parts.COUNTED),
    part=True,
)
