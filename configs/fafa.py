"""FAFA (arXiv 2311.16515, "Automatic Synthetic Data and Fine-grained Adaptive Feature Alignment
for Composed Person Retrieval").

python -m jaxreid.main --config configs/fafa.py                        # synthpedes, laptop
python -m jaxreid.main --config configs/fafa.py:syncpr --config.data.manual_dir /data \
  --config.data.test_manual_dir /data/ITCPR \
  --config.start=blip2_pretrained.pth,eva_vit_g.pth  # of salesforce/LAVIS

Published on ITCPR, trained on SynCPR, from BLIP-2's weights: R@1 46.54, mAP 55.60.

Paper and release (Delong-liu-bupt/Composed_Person_Retrieval@0cc1693) differ; each difference is a
field of config.fafa:
  field       paper   release
  target      paper   released   other pairs of an instance count partial_alpha | 1
  diversity   image   batch      which tokens are kept apart: of an image | 1024 of the batch
The uncertainty of tokens (uncertainty_probability) is in the release alone; 0 leaves it out.
"""

from ml_collections import ConfigDict

from configs import sections

# How the small network differs from that of the start weights: its four Q-Former layers are the
# two layers of text, then the two that fuse, whose cross-attentions move to layers 0 and 2. Both
# feed-forward nets of a layer start from the same one, as in the release.
_SMALL_RULES = dict(
    fresh=(
        r"qformer/query_tokens", r"(image|text)_proj/.*", r"predictor/.*", r"temperature",
    ),
    unused=(r"(image|text)_proj/.*", r"(mlm|itm_head)/.*", r"temperature"),
    renamed=(
        (r"qformer/layer_0/(crossattention.*)", r"cross/layer_0/\1"),
        (r"qformer/layer_2/(crossattention.*)", r"cross/layer_1/\1"),
        (r"qformer/layer_([01])/mlp_query(.*)", r"text/layer_\1/mlp\2"),
        (r"qformer/layer_2/mlp_query(.*)", r"cross/layer_0/mlp\1"),
        (r"qformer/layer_3/mlp_query(.*)", r"cross/layer_1/mlp\1"),
        (r"qformer/layer_2/(.*)", r"cross/layer_0/\1"),
        (r"qformer/layer_3/(.*)", r"cross/layer_1/\1"),
        (r"qformer/(.*)", r"text/\1"),
    ),
)  # fmt: skip
# Variant -> data set that is trained on, data set that is searched.
_PAPER = {"syncpr": ("syncpr", "itcpr"), "tgcpr": ("syncpr", "tgcpr"),
          "itcpr": ("cuhk_pedes", "itcpr")}  # fmt: skip
# The score reads the tokens: a block holds queries times images times 32 cosines.
_BY_TOKENS = dict(token_dtype="float32", chunk=256, image_chunk=256)
# The image encoder but for its final norm, which is BLIP-2's ln_vision.
_FROZEN = r"vit/(?!norm/).*"


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant.

    Args:
      variant: "" (synthpedes on two CPU cores), "frozen" (the same, image encoder as it starts but
        for its final norm), "released" (frozen, in the form of the release), "DATA_SET-small" (the
        same network on a captioned set, with the triplets of config.data.triplets), or at the
        paper's scale "syncpr" (ITCPR searched), "tgcpr" (TG-CPR searched), "itcpr" (trained on
        triplets over CUHK-PEDES).
    """
    captioned = variant.removesuffix("-small")
    if variant in ("", "released", "frozen"):
        config = _small()
    elif captioned in sections.PAPER_DATA and captioned != variant:
        config = _small()
        config.data = sections.data(captioned, "")
        config.data.val_people = sections.val_people(captioned)
        config.image.update(flip=0.5, pad=4)
        config.train.update(epochs=(12,), evaluate_every=2.0, save_every=2.0)
        config.optim.learning_rate = 1e-3
    elif variant in _PAPER:
        config = _paper(variant)
    else:
        known = ("", "released", "frozen", *[f"{d}-small" for d in sections.PAPER_DATA], *_PAPER)
        raise ValueError(f"unknown variant {variant!r}; know: {', '.join(map(repr, known))}")
    if variant == "released":
        config.fafa.update(target="released", diversity="batch")
    if variant == "" or captioned != variant:
        # The paper freezes an encoder of 986 M parameters; this one has seen rendered people alone,
        # none of them in the clothes of another.
        config.fafa.freeze_image = False
        config.optim.groups = tuple(group for group in config.optim.groups if group[0] != _FROZEN)
    return config


def _losses() -> ConfigDict:
    """The paper's form."""
    return ConfigDict(dict(
        # The image encoder stays as it is, but for its final norm; its rate in optim.groups is 0.
        freeze_image=True,
        queries=32,  # learned queries of the Q-Former, and features of an image
        top_tokens=6,  # best features of an image that make its score (FDA's k)
        temperature=0.07,  # start value; learnt
        temperature_limits=(1e-4, 1000.0),  # hardly a clip: the release has none
        target="paper",  # | "released"
        partial_alpha=0.5,  # label of another pair of the same instance; of target "paper"
        diversity="image",  # | "batch"
        margin=0.5,  # of FD: cosines above are pushed down
        diversity_weight=1.0,  # lambda 1
        mask_weight=0.5,  # lambda 2
        mask_rate=0.3,  # of feature values that MFR hides
        query="composed",  # | "image" | "text" | "mean": what to compare with
        uncertainty_probability=0.8,  # of a batch whose token statistics are moved (DSU)
    ))  # fmt: skip


def _small() -> ConfigDict:
    """Synthpedes at a size for two CPU cores."""
    config = sections.small(sections.START, 3e-4, (4,))
    config.method = "fafa"
    config.start_rules.update(_SMALL_RULES)
    config.data.variant = "composed"
    config.data.images_per_person = 4  # those in one outfit are in one batch
    config.model.bert.update(text_depth=4, cross_depth=2)
    config.model.bert.token_types = 2
    config.optim.groups = (
        (r"temperature", 0.1, 0.0), (_FROZEN, 0.0, 0.0), *config.optim.groups
    )  # fmt: skip
    config.eval.update(_BY_TOKENS)
    config.fafa = _losses()
    config.fafa.temperature_limits = (0.01, 0.5)
    return config


def _paper(variant: str) -> ConfigDict:
    """Published data sets at the paper's scale, as the release trains."""
    config = ConfigDict()
    config.method = "fafa"
    config.seed = 0
    config.start = ""  # files of weights to start from, or a folder; "random" = none
    config.start_rules = sections.start_rules(
        "blip2_pretrained.pth and, where it has no image encoder, eva_vit_g.pth of "
        "https://github.com/salesforce/LAVIS"
    )
    trained, searched = _PAPER[variant]
    config.data = sections.data(trained, "")
    config.data.test_name = searched
    config.data.workers = 8
    if trained == "syncpr":
        config.data.val_people = 1000  # instances held out, to choose the checkpoint by
    config.image = sections.image((224, 224), "bicubic")
    config.image.framed = (384, 192)
    config.image.pad = 10
    config.text = sections.text(32)
    config.text.tokenizer = "bert-base-uncased"
    config.text.clean = "blip"
    config.model = sections.base_model()
    # EVA-CLIP-g without its last layer, as BLIP-2 uses it.
    config.model.vit.update(patch=14, width=1408, depth=39, heads=16, mlp=6144)
    config.model.bert.update(text_depth=12, cross_depth=6)
    config.model.bert.token_types = 0  # BLIP-2 has none
    config.train = sections.training(256, (10,))
    config.train.log_every = 50
    config.optim = sections.optimiser(2e-6)
    # OneCycle of the release: a cosine up from 1/25 of the rate over 1/50 of the steps, and down to
    # 1/250,000 of it; here the way up is a line and the way down ends at 0.
    config.optim.min_learning_rate = 0.0
    config.optim.warmup_learning_rate = 2e-6 / 25
    config.optim.warmup_epochs = 0.2
    config.optim.period = "step"
    config.optim.beta2 = 0.98
    config.optim.epsilon = 1e-7
    config.optim.groups = (
        (_FROZEN, 0.0, 0.0),
        (r".*", 1.0, 0.05),
    )
    config.eval = sections.evaluation()
    config.eval.update(_BY_TOKENS)
    config.eval.missing = "skip"
    config.fafa = _losses()
    return config
