"""CLIP's ViT-B/16 as on the Hugging Face hub (openai/clip-vit-base-patch16, model.safetensors)."""

from jaxreid.weights import clip_towers
from jaxreid.weights.names import Entry, Kind

KIND = Kind(
    name="clip_hf",
    title="CLIP of Hugging Face (model.safetensors of openai/clip-vit-base-patch16)",
    methods=("clip", "irra", "word4per"),
    entries=(*clip_towers.hugging_face(), Entry("logit_scale", "logit_scale")),
    also=(clip_towers.HUGGING_FACE_POSITION_IDS,),
    unused=(r"vision_model\.embeddings\.position_ids",),
    fresh=(*clip_towers.FRESH_HEADS, *clip_towers.FRESH_WORDS),
    spare=(r"logit_scale",),
    rows=clip_towers.ROWS,
    added=clip_towers.MASK,
    positions=clip_towers.POSITIONS,
)
