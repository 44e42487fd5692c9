"""FAFA's release: BLIP-2's network and the predictor of masked features."""

from jaxreid.weights import blocks
from jaxreid.weights import query_former as parts
from jaxreid.weights.names import Kind

KIND = Kind(
    name="fafa",
    title="FAFA's tuned_recall_at1_step.pt (Delong-liu-bupt/Composed_Person_Retrieval)",
    methods=("fafa",),
    entries=(
        *parts.eva("visual_encoder."),
        *parts.heads(),
        *blocks.linear("mlm_predictor.predictor.0", "predictor/fc1"),
        *blocks.linear("mlm_predictor.predictor.2", "predictor/fc2"),
    ),
    ranges=parts.RANGES,
    unused=parts.UNUSED,
    zeros=parts.ZEROS,
    rows=parts.ROWS,
    added=parts.ADDED,
    positions=parts.POSITIONS,
)
