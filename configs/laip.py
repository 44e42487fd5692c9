"""LAIP (ICME 2024).

python -m jaxreid.main --config configs/laip.py                        # synthpedes, laptop
python -m jaxreid.main --config configs/laip.py:cuhk_pedes --config.data.manual_dir /data
      --config.start=mscoco.pth,ALBEF.pth   # of salesforce/ALBEF; the second for the MLM head
python -m jaxreid.main --config configs/laip.py:cuhk_pedes-384x128 ...    # upright images
python -m jaxreid.main --config configs/laip.py:cuhk_pedes-small ...      # on two CPU cores

Published on CUHK-PEDES (Table I): R@1 76.72, R@5 90.42, R@10 93.60, mAP 66.05, from ALBEF weights
fine-tuned on COCO.

Rows of Table IV and V as overrides (attention, reconstruction, triplet):
  2 Baseline+       none           none  False     6 +MPM             none           mpm   False
  3 +ForAtt         forward        none  False     7 +BidirAtts+MPM   bidirectional  mpm   False
  4 +BackAtt        backward       none  False     8 LAIP             bidirectional  mpm   True
  5 +BidirAtts      bidirectional  none  False     V LAIP (w/o MPM)   bidirectional  none  True
                                                   V LAIP (MLM)       bidirectional  mlm   True
"""

from ml_collections import ConfigDict

from configs import sections


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant; see `sections.recipe`."""
    config = sections.recipe(variant)
    config.method = "laip"
    config.laip = config.losses
    del config.losses
    c = config.laip
    c.triplet = True  # in the last stage
    c.attention = "bidirectional"  # "none" | "forward" | "backward" | "bidirectional"
    c.reconstruction = "mpm"  # "none" | "mpm" | "mlm"
    # The paper tried all cross layers but the last and does not print the best; ALBEF's Grad-CAM
    # reads the third of six (models/model_retrieval.py, block 8).
    published = variant.endswith("-small")
    small = published or variant in ("", "random", "start")
    c.layer = 0 if small else 2
    # Phrases of a caption used in a step, at most.
    c.phrases = 2 if published else 3 if small else 6
    c.word_score = "probability"  # | "logit", of the masked word (Eq. 5)
    c.combine = "product"  # | "sum", of forward and backward attention (Eq. 7)
    c.normalise = "l1"  # | "softmax" | "minmax" (sigma of Eq. 7)
    c.alignment = "cosine"  # | "sigmoid" | "contrastive" (form of Eq. 10)
    c.detach = True  # no gradient through the patch weights
    c.reduction = "mean"  # | "sum" over the phrases of a caption (Eq. 12)
    # Of L_bidir and L_mpm in Eq. 12, which prints none.
    c.bidir_weight = c.mpm_weight = 0.1 if published else 1.0
    c.mlm_probability = 0.15  # of reconstruction "mlm" (RaSa)
    if config.start_rules.needs:
        # The fine-tuned file has no MLM head, the pretrained one has.
        config.start_rules.needs = (
            "mscoco.pth and, for the MLM head, ALBEF.pth of https://github.com/salesforce/ALBEF"
        )
    if variant == "start":  # ITC, ITM and masked words, as ALBEF is pretrained
        c.triplet, c.attention, c.phrases = False, "none", 2
    return config
