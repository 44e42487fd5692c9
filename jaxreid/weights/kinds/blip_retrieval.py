"""BLIP, fine-tuned (salesforce/BLIP, model_base_retrieval_coco.pth; models/blip_retrieval.py).

No decoder; positions of 384 x 384 pixels.
"""

from jaxreid.weights import dual_association
from jaxreid.weights.names import Kind

KIND = Kind(
    name="blip_retrieval",
    title="a retrieval checkpoint of BLIP (model_base_retrieval_coco.pth of salesforce/BLIP)",
    methods=("cada",),
    entries=dual_association.encoders(),
    ranges=dual_association.RANGES,
    unused=(*dual_association.MOMENTUM, *dual_association.QUEUES),
    fresh=(r"itm_local_head/.*", r"text_decoder/.*", r"mlm/.*"),
    rows=dual_association.ROWS,
    added=dual_association.ADDED,
    positions=dual_association.POSITIONS,
)
