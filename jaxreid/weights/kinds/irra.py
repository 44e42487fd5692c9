"""A checkpoint of IRRA (anosorae/IRRA, best.pth; model/build.py), and stage 1 of Word4Per.

Heads are there by what args.loss_names of the run said. A run with "mlm" masks by token 49405:
config.irra.mask_token must be "last_merge".
"""

from jaxreid.weights import clip_towers
from jaxreid.weights.names import Kind

KIND = Kind(
    name="irra",
    title="a checkpoint of IRRA (best.pth of anosorae/IRRA)",
    methods=("irra", "word4per"),
    entries=(*clip_towers.openai("base_model."), *clip_towers.relation()),
    fresh=(*clip_towers.FRESH_HEADS, *clip_towers.FRESH_WORDS),
    rows=clip_towers.ROWS,
    added=clip_towers.MASK,
    positions=clip_towers.POSITIONS,
)
