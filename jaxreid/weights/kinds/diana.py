"""DiaNA's release: Swin-V2 and Llama, their projections, and the refiner of attributes."""

from jaxreid.weights import blocks
from jaxreid.weights import dialogue_alignment as parts
from jaxreid.weights.names import Entry, Kind

KIND = Kind(
    name="diana",
    title="DiaNA's checkpoint (Flame-Chasers/DiaNA)",
    methods=("diana",),
    entries=(
        *parts.swin("vision_model."),
        *parts.llama("llama."),
        *blocks.linear("vision_projection", "image_proj"),
        *blocks.linear("text_projection", "text_proj"),
        Entry("logit_scale", "logit_scale"),
        *parts.refiner("refiner."),
    ),
    # Pre-training has 24 queries under another name; fine-tuning starts its 16 from random.
    unused=(r"refiner\.query_token", parts.COUNTED),
    fresh=(r"refiner/queries",),
    spare=(r"refiner/.*",),  # diana.refiner "none"
)
