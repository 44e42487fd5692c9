"""IRRA (CVPR 2023, arXiv 2303.12501).

python -m jaxreid.main --config configs/irra.py                        # synthpedes, laptop
python -m jaxreid.main --config configs/irra.py --config.irra.losses="('sdm','id')"
python -m jaxreid.main --config configs/irra.py:cuhk_pedes --config.data.manual_dir /data

Published on CUHK-PEDES (Table 1), from OpenAI's ViT-B/16: R@1 73.38, R@5 89.93, R@10 93.71,
mAP 66.13.
"""

from ml_collections import ConfigDict

from configs import clip


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant; see `configs.clip.recipe`."""
    config = clip.recipe(variant)
    config.method = "irra"
    config.irra = ConfigDict(dict(
        losses=("sdm", "mlm", "id"),  # any of them can be left out; | "itc", as in the release
        logit_scale=50.0,  # of SDM and ITC, 1 / 0.02; constant (section 4.1)
        epsilon=1e-8,  # of SDM
        mlm_weight=1.0,
        id_weight=1.0,
        mlm_probability=0.15,  # of which 80 % are masked, 10 % random, 10 % kept
        # In the release SDM and ID see the masked captions too: an array shares its memory with the
        # tokens that are masked in it (datasets/bases.py). The authors say so without loses some.
        masked_captions=False,
        mask_token="added",  # a token of its own | "last_merge": id 49405 of CLIP's, the release
    ))  # fmt: skip
    if variant in clip.SMALL or variant.endswith("-small"):
        # The heads are fresh, and CLIP's learnt scale is not used.
        config.start_rules.fresh = (r"(cross|mlm_head|classifier)/.*",)
        config.start_rules.unused = (r"logit_scale",)
        # From random weights SDM stays at equal probabilities for all pairs: its gradient fades
        # where a negative wins. ITC leaves them.
        config.irra.losses = ("sdm", "mlm", "id", "itc")
        config.irra.logit_scale = 1 / 0.07
    else:
        # solver/build.py: what CLIP does not fill is five times as fast, its biases twice.
        config.optim.groups = (
            (r"(classifier|mlm_head)/.*bias", 5.0, 0.0, "adam"),
            (r"(classifier|mlm_head)/.*", 5.0, 4e-5, "adam"),
            (r".*bias", 2.0, 0.0, "adam"),
            (r"cross/(attn|blocks_\d+)/.*", 5.0, 4e-5, "adam"),
            (r".*", 1.0, 4e-5, "adam"),
        )
    return config
