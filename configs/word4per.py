"""Word4Per: search by a photo plus words, trained on captions alone (arXiv 2311.16515).

python -m jaxreid.main --config configs/word4per.py                      # synthpedes, laptop
python -m jaxreid.main --config configs/word4per.py:stage1 --workdir runs/one
python tools/export_start.py runs/one one
python -m jaxreid.main --config configs/word4per.py:stage2 --config.start=one
python -m jaxreid.main --config configs/word4per.py:itcpr --config.data.manual_dir /data \
  --config.data.test_manual_dir /data/ITCPR

Published on ITCPR, from OpenAI's ViT-B/16: R@1 45.55 (README of the release, "old version").
"""

from ml_collections import ConfigDict

from configs import clip, sections

# Variant -> data set that is trained on, data set that is searched.
_PAPER = {"itcpr": ("cuhk_pedes", "itcpr"), "tgcpr": ("cuhk_pedes", "tgcpr"),
          "syncpr": ("syncpr", "itcpr")}  # fmt: skip
_STAGES = {"stage1": ("encoders",), "stage2": ("inversion",), "": ("encoders", "inversion")}


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant.

    Args:
      variant: "" (synthpedes on two CPU cores, both stages in one run), "stage1" or "stage2" alone,
        or a published set, "itcpr", "tgcpr" (captions of CUHK-PEDES) or "syncpr" (its captions,
        ITCPR searched), with "-stage1" or "-stage2" behind it. Published numbers are of the stages
        alone: one run has one optimiser, and theirs differ. Stage 2 starts from the weights that
        tools/export_start.py makes of a run of stage 1.
    """
    data, _, stage = variant.partition("-")
    captioned = data if data in sections.PAPER_DATA and stage == "small" else ""
    if captioned:
        data = stage = ""
    if data in _STAGES:
        data, stage = "", data
    if data not in ("", *_PAPER) or stage not in _STAGES:
        known = [s for s in _STAGES if s] + [f"{d}-small" for d in sections.PAPER_DATA]
        known += [f"{d}{s}" for d in _PAPER for s in ("", "-stage1", "-stage2")]
        raise ValueError(f"unknown variant {variant!r}; know: '', {', '.join(map(repr, known))}")
    config = _paper(data, stage) if data else _small(stage, captioned)
    config.method = "word4per"
    stages = _STAGES[stage]
    config.word4per = ConfigDict(dict(
        stages=stages,  # what each of train.epochs trains
        # Of the encoders: IRRA's losses; "sdm", "id" in the README, with "mlm" in the script.
        losses=("sdm", "id"),
        logit_scale=50.0,  # of every SDM, 1 / 0.02; constant
        epsilon=1e-8,
        mlm_weight=1.0,
        id_weight=1.0,
        mlm_probability=0.15,
        masked_captions=False,  # see configs/irra.py
        mask_token="added",
        # A textual inversion network for each: its sentence is fitted to the caption ("text", the
        # shipped recipe), the image, or both ("text+image", the release's default). Two are fused.
        inversions=("text",),
        fused=(),  # of them, which make a composed query; () = all
        hidden=512,
        dropout=0.1,
        prompt="a photo of *",
        template="a * is , {caption}",
        query="composed",  # | "image" | "text" | "mean": what to compare with
    ))  # fmt: skip
    words = {"encoders": r"(?!inversion/).*", "inversion": r"inversion/.*"}
    config.optim.trained = tuple(words[stage] for stage in stages)
    if not data:
        config.word4per.hidden = 128
        config.word4per.inversions = ("text", "image")
        config.word4per.logit_scale = 1 / 0.07
        config.word4per.losses = ("sdm", "id", "itc")  # see configs/irra.py
    return config


def _small(stage: str, captioned: str) -> ConfigDict:
    """Synthpedes, or a captioned set, at a size for two CPU cores."""
    if captioned:
        config = clip.recipe(f"{captioned}-small")
    else:
        config = clip.recipe("")
        config.data.variant = "composed"
        config.data.images_per_person = 4  # those in one outfit are in one batch
    # IRRA's heads are fresh; the weights of CLIP have its learnt scale.
    config.start_rules.fresh = (r"(cross|mlm_head|classifier|inversion)/.*",)
    config.start_rules.unused = (r"logit_scale",)
    config.train.epochs = {"": (1, 1), "stage1": (1,), "stage2": (1,)}[stage]
    config.optim.learning_rate = 3e-4
    config.optim.warmup_epochs = 0.1
    if captioned:
        config.train.epochs, config.optim.learning_rate = (12, 6), 1e-3
    if stage == "stage2":  # all weights are those of stage 1
        config.start_rules.fresh = config.start_rules.unused = ()
    return config


def _paper(data: str, stage: str) -> ConfigDict:
    """The release's scale: CLIP ViT-B/16 at 384 x 128."""
    trained, searched = _PAPER[data]
    config = clip.recipe("cuhk_pedes")
    config.data.name, config.data.test_name = trained, searched
    if trained == "syncpr":
        config.data.val_people = 1000  # instances held out, to choose the checkpoint by
    config.eval.missing = "skip"
    config.train.epochs = (60, 60) if stage == "" else (60,)
    if stage == "stage2":
        config.start_rules.needs = (
            "a run of stage 1 (tools/export_start.py) or stage1_model_vitb.pth of "
            "https://github.com/Delong-liu-bupt/Composed_Person_Retrieval"
        )
        config.train.batch_size = 128
        config.optim.learning_rate, config.optim.warmup_learning_rate = 1e-4, 1e-5
        config.optim.epsilon = 1e-8
        # solver/build.py; nothing else is trained.
        config.optim.groups = ((r".*bias", 2.0, 0.0), (r".*", 1.0, 4e-5))
        return config
    # As configs/irra.py; in one run the words learn at their own rate, 1e-4.
    config.optim.groups = (
        (r"inversion/.*bias", 20.0, 0.0),
        (r"inversion/.*", 10.0, 4e-5),
        (r"(classifier|mlm_head)/.*bias", 5.0, 0.0, "adam"),
        (r"(classifier|mlm_head)/.*", 5.0, 4e-5, "adam"),
        (r".*bias", 2.0, 0.0, "adam"),
        (r"cross/(attn|blocks_\d+)/.*", 5.0, 4e-5, "adam"),
        (r".*", 1.0, 4e-5, "adam"),
    )
    return config
