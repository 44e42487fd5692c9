"""ALBEF, fine-tuned (salesforce/ALBEF, mscoco.pth, flickr30k.pth, refcoco.pth; model_retrieval.py).

The names of the retrieval code: without "bert." and without MLM head. Saved by training it has
831 keys; the published files lack the momentum copies and the queues, refcoco.pth is a bare dict.
"""

from jaxreid.weights import align_fuse
from jaxreid.weights.names import Kind

_ENCODERS = align_fuse.encoders("")

KIND = Kind(
    name="albef_retrieval",
    title="a fine-tuned checkpoint of ALBEF (mscoco.pth of salesforce/ALBEF)",
    methods=("laip", "albef"),
    entries=(*_ENCODERS, *align_fuse.memory(_ENCODERS, "queue_ptr")),
    ranges=align_fuse.RANGES,
    unused=align_fuse.unread(""),
    fresh=(r"mlm/.*", *align_fuse.FRESH_MEMORY),
    spare=align_fuse.SPARE_MEMORY,
    rows=align_fuse.ROWS,
    positions=align_fuse.POSITIONS,
)
