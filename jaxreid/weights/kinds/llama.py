"""Llama 3.2 as the hub has it: the file that DiaNA's release starts its text encoder from.

It fills the text encoder alone: one file of several in `config.start`. "model." stands before all
names, which the reader takes off, but where the output layer, here the word embedding, is in the
file too.
"""

from jaxreid.weights import dialogue_alignment as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="llama",
    title="a Llama of the hub (meta-llama/Llama-3.2-1B)",
    methods=("diana",),
    entries=parts.llama(""),
    also=parts.llama("model."),
    unused=(r"lm_head\.weight",),
    part=True,
)
