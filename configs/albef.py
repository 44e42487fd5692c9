"""ALBEF (arXiv 2107.07651), the baseline of LAIP.

python -m jaxreid.main --config configs/albef.py                       # synthpedes, laptop
python -m jaxreid.main --config configs/albef.py:cuhk_pedes --config.data.manual_dir /data
      --config.start=mscoco.pth             # of salesforce/ALBEF
python -m jaxreid.main --config configs/albef.py:cuhk_pedes-384x128 ...   # upright images

Published on CUHK-PEDES as LAIP's baseline (Table I): R@1 63.87, mAP 54.41.
"""

from ml_collections import ConfigDict

from configs import sections


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant; see `sections.recipe`."""
    config = sections.recipe(variant)
    config.method = "albef"
    config.albef = config.losses
    del config.losses
    return config
