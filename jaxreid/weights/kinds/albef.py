"""ALBEF, pretrained (salesforce/ALBEF, ALBEF.pth and ALBEF_4M.pth; models/model_pretrain.py).

BERT with its MLM head ("text_encoder.bert.", "text_encoder.cls."), momentum copies, queues of
65,536 embeddings without ids; positions of 256 x 256 pixels.
"""

from jaxreid.weights import align_fuse
from jaxreid.weights.names import Kind

_ENCODERS = align_fuse.encoders("bert.")

KIND = Kind(
    name="albef",
    title="a pretrained checkpoint of ALBEF (ALBEF.pth of salesforce/ALBEF)",
    methods=("laip", "albef"),
    entries=(*_ENCODERS, *align_fuse.words(), *align_fuse.memory(_ENCODERS, "queue_ptr")),
    ranges=align_fuse.RANGES,
    unused=align_fuse.unread("bert."),
    fresh=align_fuse.FRESH_MEMORY,
    spare=align_fuse.SPARE_MEMORY,
    rows=align_fuse.ROWS,
    positions=align_fuse.POSITIONS,
)
