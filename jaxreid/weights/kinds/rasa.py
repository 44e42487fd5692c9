"""RaSa (Flame-Chasers/RaSa, models/model_person_search.py): ALBEF with two more heads, 849 keys."""

from jaxreid.weights import align_fuse
from jaxreid.weights.names import Kind

_ENCODERS = align_fuse.encoders("bert.")

KIND = Kind(
    name="rasa",
    title="a checkpoint of RaSa (Flame-Chasers/RaSa)",
    methods=("laip", "albef"),
    entries=(*_ENCODERS, *align_fuse.words(), *align_fuse.memory(_ENCODERS, "queue_ptr")),
    ranges=align_fuse.RANGES,
    # Positive relation detection and replaced token detection are losses of RaSa alone.
    unused=(r"prd_head\.(weight|bias)", r"mrtd_head\.(weight|bias)", *align_fuse.unread("bert.")),
    fresh=align_fuse.FRESH_MEMORY,
    spare=align_fuse.SPARE_MEMORY,
    rows=align_fuse.ROWS,
    positions=align_fuse.POSITIONS,
)
