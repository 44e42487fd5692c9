"""CLIP's dual encoder (Radford et al., 2021), fine-tuned: the baseline of IRRA (CVPR 2023).

python -m jaxreid.main --config configs/clip.py                        # synthpedes, laptop
python -m jaxreid.main --config configs/clip.py --config.clip.loss=cmpm+cmpc
python -m jaxreid.main --config configs/clip.py:cuhk_pedes --config.data.manual_dir /data \
  --config.start=ViT-B-16.pt                                           # of openai/CLIP
python -m jaxreid.main --config configs/clip.py:start                  # the small start weights

Published on CUHK-PEDES (README of IRRA), from OpenAI's ViT-B/16: R@1 68.19, R@5 86.47, R@10 91.47,
mAP 61.12.
"""

from ml_collections import ConfigDict

from configs import sections
from jaxreid.data.images import RELEASE_ERASE_COLOUR

# Variants on synthpedes, of the network for two CPU cores.
SMALL = ("", "random", "start")
# Weights of that network, made by `:start` and tools/export_start.py.
START = "configs/start/synthpedes-clip"


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant; see `recipe`."""
    config = recipe(variant)
    small = variant in SMALL
    config.method = "clip"
    config.clip = ConfigDict(dict(
        loss="itc",  # | "sdm" | "cmpm" | "cmpc" | "cmpm+cmpc"
        logit_scale=1 / 0.07 if small else 50.0,  # start value; 50 in IRRA's release
        logit_scale_limit=100.0,  # CLIP
        label_norm="l1",  # of CMPM: the paper's; "l2" the releases'
        epsilon=1e-8,  # of SDM and CMPM
    ))  # fmt: skip
    if config.start_rules.needs:  # CLIP's own scale, 100, is not taken over
        config.start_rules.fresh = config.start_rules.unused = (r"logit_scale",)
    # IRRA's release keeps the scale where it starts; from random weights it is learnt.
    scale = (r"logit_scale", 1.0 if small else 0.0, 0.0)
    config.optim.groups = (scale, *config.optim.groups)
    return config


def recipe(variant: str) -> ConfigDict:
    """Returns what the recipes of CLIP, IRRA and Word4Per share.

    Args:
      variant: "" (synthpedes on two CPU cores), "random" (the same without start weights), "start"
        (makes the start weights), or a published data set, with "-small" behind it for the network
        of "" and its start weights.
    """
    name, _, size = variant.partition("-")
    if variant in SMALL:
        config = _small()
    elif name in sections.PAPER_DATA and size == "":
        config = _paper(name)
    elif name in sections.PAPER_DATA and size == "small":
        config = _small()
        config.data = sections.data(name, "")
        config.data.val_people = sections.val_people(name)
        config.image.update(flip=0.5, pad=4)
        config.train.epochs = (20,)
        config.train.evaluate_every = config.train.save_every = 2.0
    else:
        sizes = [f"{data}{size}" for data in sections.PAPER_DATA for size in ("", "-small")]
        known = ", ".join(map(repr, [*SMALL, *sizes]))
        raise ValueError(f"unknown variant {variant!r}; know: {known}")
    if variant == "random":
        config.start, config.train.epochs = "", (10,)
    elif variant == "start":
        config.start = config.text.tokenizer = ""
        config.data.variant = "medium"
        config.train.update(batch_size=128, epochs=(3,), evaluate_every=0.25, save_every=0.25)
        config.optim.warmup_epochs = 0.2
    config.data.people = 0  # that identity losses tell apart; 0 = those of train
    config.eval.top_k = 0  # similarity is final
    return config


def _small() -> ConfigDict:
    """Synthpedes at a size for two CPU cores."""
    config = sections.small(START, 1e-3, (2,))
    config.image.resize = "bilinear"
    config.text.max_tokens = 48
    config.optim.warmup_epochs = 0.5
    return config


def _paper(name: str) -> ConfigDict:
    """A published data set at the paper's scale, as IRRA's release trains (utils/options.py)."""
    config = ConfigDict()
    config.seed = 0
    config.start = ""  # file of weights to start from, or a folder; "random" = none
    config.start_rules = sections.start_rules("ViT-B-16.pt of https://github.com/openai/CLIP")
    config.data = sections.data(name, "")
    config.data.workers = 8
    config.data.val_people = sections.val_people(name)
    config.image = sections.image((384, 128), "bilinear")
    config.image.pad = 10
    config.image.erase_probability = 0.5
    config.image.erase_colour = RELEASE_ERASE_COLOUR
    config.text = sections.text(77)
    config.text.tokenizer = "openai/clip-vit-base-patch16"
    config.text.clean = "none"
    config.text.max_words = 77  # more words than tokens: max_tokens alone cuts
    config.model = ConfigDict(dict(
        dtype="bfloat16",
        embedding=512,
        init_std=0.02,
        vit=dict(patch=16, width=768, depth=12, heads=12, mlp=3072, drop_path=0.0, dropout=0.0),
        # The text encoder; cross_depth layers and its heads make IRRA's cross-modal module.
        bert=dict(
            width=512, text_depth=12, cross_depth=4, heads=8, mlp=2048, max_positions=77,
            dropout=0.0,
        ),
    ))  # fmt: skip
    config.train = sections.training(64, (60,))
    config.train.log_every = 50
    config.optim = sections.optimiser(1e-5)
    config.optim.min_learning_rate = 0.0
    config.optim.warmup_learning_rate = 1e-6
    config.optim.warmup_epochs = 5.0
    config.optim.epsilon = 1e-3  # solver/build.py
    # torch.optim.Adam: decay is a part of the gradient ("adam"). Biases are twice as fast.
    config.optim.groups = (
        (r".*bias", 2.0, 0.0, "adam"),
        (r".*", 1.0, 4e-5, "adam"),
    )
    config.eval = sections.evaluation()
    return config
