"""CLIP's ViT-B/16 as OpenAI publishes it (openai/CLIP, ViT-B-16.pt): TorchScript, float16.

Three keys hold sizes, which OpenAI's own loader deletes (clip/model.py, build_model).
"""

from jaxreid.weights import clip_towers
from jaxreid.weights.names import Entry, Kind

KIND = Kind(
    name="clip",
    title="OpenAI's CLIP (ViT-B-16.pt of openai/CLIP)",
    methods=("clip", "irra", "word4per"),
    entries=(*clip_towers.openai(), Entry("logit_scale", "logit_scale")),
    unused=(r"input_resolution", r"context_length", r"vocab_size"),
    fresh=(*clip_towers.FRESH_HEADS, *clip_towers.FRESH_WORDS),
    spare=(r"logit_scale",),
    rows=clip_towers.ROWS,
    added=clip_towers.MASK,
    positions=clip_towers.POSITIONS,
)
