"""Rows of the tables that tools/ablation.py makes: what each trains, and what was published."""

from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row of LAIP's Table IV or V: fields of the section `laip`, and what the paper reports."""

    attention: str
    reconstruction: str
    triplet: bool
    published: float  # R@1 on CUHK-PEDES in percent, from weights fine-tuned on COCO


LAIP_ROWS = {
    "albef": Row("none", "none", False, 66.59),  # Baseline+; 63.87 without COCO
    "foratt": Row("forward", "none", False, 75.05),
    "backatt": Row("backward", "none", False, 75.37),
    "bidiratt": Row("bidirectional", "none", False, 75.52),
    "mpm": Row("none", "mpm", False, 75.45),
    "bidiratt+mpm": Row("bidirectional", "mpm", False, 75.15),
    "laip": Row("bidirectional", "mpm", True, 76.72),
    "laip-no-mpm": Row("bidirectional", "none", True, 75.21),
    "laip-mlm": Row("bidirectional", "mlm", True, 76.38),
}
LAIP_SETS = ("attention", "reconstruction", "triplet")  # fields of the section `laip`


class CadaRow(NamedTuple):
    """A row of CADA's Table IV or V or a point of a figure; rows of one training share its run."""

    training: str  # of `CADA_TRAININGS`
    scores: str  # block of the results: "coarse" (global matching) | "final" (local matching)
    top_k: int | None = None  # candidates re-ranked, another number than the recipe's
    published: float | None = None  # R@1 on CUHK-PEDES in percent, from BLIP's weights


class Training(NamedTuple):
    """What a run of CADA trains with; sizes are parts of what the recipe has."""

    global_loss: str = "ndf"
    atp: bool = True
    ara: bool = True
    # Tokens of a group, and from one to the next, of 72; the recipe's own where None.
    groups: tuple[int, int] | None = None
    cross_layers: float = 1.0  # share of the decoder's layers that have a cross-attention
    mask_rate: float | None = None  # the recipe's own where None


CADA_TRAININGS = {
    "cmpm": Training("cmpm", atp=False, ara=False),
    "ndf": Training(atp=False, ara=False),
    "ndf+ara": Training(atp=False),
    "ndf+atp": Training(ara=False),
    "cada": Training(),
    "groups-36-18": Training(ara=False, groups=(36, 18)),
    "groups-24-24": Training(ara=False, groups=(24, 24)),
    "groups-48-24": Training(ara=False, groups=(48, 24)),
    "groups-72-72": Training(ara=False, groups=(72, 72)),
    "decoder-half": Training(cross_layers=0.5),
    "decoder-quarter": Training(cross_layers=0.25),
    **{f"mask-{rate}": Training(mask_rate=rate) for rate in (0.2, 0.4, 0.6, 1.0)},
}
CADA_TABLE = ("cmpm", "ndf", "ndf+ara", "ndf+atp-g", "ndf+atp-l", "cada-g", "cada-l")  # Table IV
CADA_ROWS = {
    "cmpm": CadaRow("cmpm", "final", published=64.36),
    "ndf": CadaRow("ndf", "final", published=71.79),
    "ndf+ara": CadaRow("ndf+ara", "final", published=72.93),
    "ndf+atp-g": CadaRow("ndf+atp", "coarse", published=73.01),
    "ndf+atp-l": CadaRow("ndf+atp", "final", published=77.78),  # groups-36-36 of Table V too
    "cada-g": CadaRow("cada", "coarse", published=73.48),
    "cada-l": CadaRow("cada", "final", published=78.37),  # mask-0.8 of Fig. 4 too
    "groups-36-18": CadaRow("groups-36-18", "final", published=77.53),
    "groups-24-24": CadaRow("groups-24-24", "final", published=77.45),
    "groups-48-24": CadaRow("groups-48-24", "final", published=77.47),
    "groups-72-72": CadaRow("groups-72-72", "final", published=77.01),
    **{name: CadaRow(name, "final") for name in CADA_TRAININGS if name[:4] in ("deco", "mask")},
    **{f"k-{k}": CadaRow("cada", "final", top_k=k) for k in (4, 8, 16, 64, 128)},
}
CADA_SETS = (
    "cada.global_loss",
    "cada.atp",
    "cada.ara",
    "cada.inference",
    "cada.group_size",
    "cada.group_stride",
    "cada.mask_rate",
    "model.bert.cross_depth",
)


def cada_overrides(training: str, config: Any) -> dict[str, Any]:
    """Returns the fields that a training of `CADA_TRAININGS` sets, by name in the config.

    Groups are given for the paper's 72 tokens and scaled to those of the recipe.

    Raises:
      ValueError: the decoder has too few layers for the share.
    """
    t, tokens = CADA_TRAININGS[training], config.text.max_tokens - 1
    fields = {
        "cada.global_loss": t.global_loss,
        "cada.atp": t.atp,
        "cada.ara": t.ara,
        "cada.inference": "local" if t.atp else "global",
    }
    if t.global_loss == "ndf":  # in the recipe's form, of the paper or of the release
        del fields["cada.global_loss"]
    if t.groups is not None:
        size, stride = (max(1, round(n * tokens / 72)) for n in t.groups)
        fields |= {"cada.group_size": size, "cada.group_stride": stride}
    if t.mask_rate is not None:
        fields["cada.mask_rate"] = t.mask_rate
    layers = config.model.bert.text_depth * t.cross_layers
    if layers != int(layers):
        raise ValueError(
            f"--rows: {training} needs a model.bert.text_depth of which {t.cross_layers} is whole, "
            f"got {config.model.bert.text_depth}"
        )
    if t.cross_layers != 1:
        fields["model.bert.cross_depth"] = int(layers)
    return fields


class Study(NamedTuple):
    """The ablation of a method."""

    method: str
    rows: dict[str, Row | CadaRow]
    default: tuple[str, ...]  # rows that are made if none are named
    baseline: str  # row that gains are counted from
    set_here: dict[str, str]  # what this tool sets in each run, and by which flag
    note: str  # last sentences over the table


STUDIES = {
    "laip": Study(
        "laip",
        LAIP_ROWS,
        tuple(LAIP_ROWS),
        "albef",
        {
            "config.seed": "--seeds",
            "config.train.stop_after": "--share-first-stage",
            **{f"config.laip.{name}": "--rows" for name in LAIP_SETS},
        },
        "Published: R@1 on CUHK-PEDES, LAIP Tables IV and V, from weights fine-tuned\n"
        "on COCO (albef without: 63.87).",
    ),
    "cada": Study(
        "cada",
        CADA_ROWS,
        CADA_TABLE,
        "cmpm",
        {"config.seed": "--seeds", **{f"config.{name}": "--rows" for name in CADA_SETS}},
        "Published: R@1 on CUHK-PEDES, CADA Tables IV and V, from BLIP's weights;\n"
        "group sizes are those of 72 tokens, scaled to the recipe's.",
    ),
}
LAIP = STUDIES["laip"]
