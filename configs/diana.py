"""DiaNA (CVPR 2025, "Chat-based Person Retrieval via Dialogue-Refined Cross-Modal Alignment").

python -m jaxreid.main --config configs/diana.py                          # synthpedes, laptop
python -m jaxreid.main --config configs/diana.py:chatpedes --config.data.manual_dir /data \
  --config.start=deit_base_patch16_224-b5f2ef4d.pth,pytorch_model.bin  # of DeiT, of BERT
python -m jaxreid.main --config configs/diana.py:released --config.data.manual_dir /data \
  --config.text.tokenizer /models/Llama-3.2-1B \
  --config.start=swinv2.safetensors,/models/Llama-3.2-1B/model.safetensors  # or DiaNA's own

The tables of the article could not be had; its release trains Swin-V2-B and Llama-3.2-1B for ten
epochs on ChatPedes after three on 1.5 M captions of MALS, which is "released"; "chatpedes" is its
recipe with ViT-B/16 and BERT-base in their place.

Article and release differ, or are silent, in fields of config.diana:
  field      article    release
  refiner    separate   shared     by the article each modality has a refiner; default: the release,
                                   whose code says how everything else is meant
  inference  -          global     its script ranks by the global feature; "both" is their sum
Rows of the ablation, of the variant "after_captions": --config.diana.retain=False; without refiner
--config.diana.refiner=none --config.diana.inference=global; --config.diana.refiner=separate. Of the
variant "causal": --config.diana.retain=False, and the variant "causal_dual".
"""

from ml_collections import ConfigDict

from configs import sections

# How the small network differs from that of the start weights: dialogues are longer than captions,
# tokens are projected as the global feature is, and nothing reads text and image together.
_START_RULES = dict(
    fresh=(r"(text_)?refiner/.*|logit_scale",),  # one pattern, which matches without a refiner, too
    unused=(r"(cross|mlm|itm_head)/.*", r"temperature"),
    renamed=((r"(image|text)_proj/(.*)", r"\1_proj/dense/\2"),),
    longer=(r"text/embeddings/(word|position)_embeddings/embedding",),
)
# What files of encoders alone leave random; one pattern: without a refiner it matches, too.
_NOT_OF_ENCODERS = (r"(image|text)_proj/.*|(text_)?refiner/.*|logit_scale",)
# Which sections of config.model the encoders have: "vit" | "swin", "bert" | "llama".
_ENCODERS = dict(image_encoder="vit", text_encoder="bert")
# Of the causal network: its text encoder is new, what looks at images is known.
_OF_TEXT = (r"text/.*", r"text_proj/.*", r"logit_scale")
_OF_PATCHES = r"vit/(patch_embed/.*|pos_embed)"
# Weights of the small network, and beside it without a refiner, made by the variants "start" and
# "start_dual" and tools/export_start.py. Its vocabulary is made by tools/dialogue_vocabulary.py.
_START = "configs/start/synthpedes-dialogues"
# Of the causal network, made by the variants "start_patches", then "start_causal", whose vocabulary
# tools/causal_vocabulary.py makes.
_START_CAUSAL = "configs/start/synthpedes-causal"
_PAPER = ("chatpedes", "interactive_pedes")
# What stands before each dialogue in the release (main/conversation.py, conv_customized).
_SYSTEM = (
    "You are an intelligent system designed to retrieve pedestrian images from dialogues. Extract "
    "key attributes such as clothing, accessories, gender, and distinctive features from the "
    "conversation. Use the aggregated information from all dialogue turns to perform accurate "
    "person image retrieval."
)


def get_config(variant: str = "") -> ConfigDict:
    """Returns the recipe of a variant.

    Args:
      variant: "" (synthpedes on two CPU cores); the plain dual encoder of that size, trained and
        searched with the same dialogues ("dual"), with the first answer of each ("sentence") or
        with what is written in front of the picture ("captions"); "after_captions", which meets
        dialogues for the first time; "causal", which does so with text read from left to right and
        images as the mean of their patches, as in the release, and "causal_dual" without a refiner;
        "start", "start_dual", "start_patches" and "start_causal", which make the start weights of
        the others; "chatpedes" or "interactive_pedes"; or "released" (ChatPedes, with the encoders
        and the prompt of the release).
    """
    if variant == "":
        config = _small()
    elif variant == "dual":
        config = _small(refined=False)
    elif variant == "sentence":
        config = _small(refined=False)
        config.dialogue.rounds = 1
    elif variant == "captions":
        config = _small(refined=False)
        config.dialogue.source = "captions"
        config.diana.fewest_rounds = 0
    elif variant == "after_captions":
        config = _after_captions()
    elif variant in ("causal", "causal_dual"):
        config = _causal(refined=variant == "causal")
    elif variant in ("start", "start_dual"):
        config = _starting(refined=variant == "start")
    elif variant == "start_patches":
        config = _starting_patches()
    elif variant == "start_causal":
        config = _starting_causal()
    elif variant in _PAPER:
        config = _paper(variant)
    elif variant == "released":
        config = _released()
    else:
        small = ("dual", "sentence", "captions", "after_captions", "causal", "causal_dual")
        starts = ("start", "start_dual", "start_patches", "start_causal")
        known = ("", *small, *starts, *_PAPER, "released")
        raise ValueError(f"unknown variant {variant!r}; know: {', '.join(map(repr, known))}")
    return config


def _dialogue() -> ConfigDict:
    """How dialogues are written out and read."""
    return ConfigDict(dict(
        # | "both": each opens with a caption of its image | "captions": it ends with that opening
        # | "mixed": "dialogues" and "captions"
        source="dialogues",
        rounds=0,  # that are read of a dialogue, the first ones; 0 = all
        per_image=0,  # dialogues, and captions, of an image to train on, the first; 0 = all
        system="",  # what stands before every dialogue
        question="",  # what stands before a question
        answer="",
        breaks=(" ", " ", " "),  # behind what stands before the first round, a question, an answer
        keep="newest",  # | "oldest": the words that stay of more than text.max_tokens
        curve=0,  # rounds of the curve of scores over rounds; 0 = those of the longest dialogue
    ))  # fmt: skip


def _losses() -> ConfigDict:
    """The release's form."""
    return ConfigDict(dict(
        refiner="shared",  # | "separate" | "none"
        attributes=16,  # K; 24 in pre-training
        refiner_depth=2,
        refiner_heads=12,
        query_std=0.02,  # of the start weights of the K queries
        reduction="mean",  # of the K cosines | "max" | "min" | "logsumexp" | "-logsumexp"
        inference="both",  # | "global" | "attribute"
        image_pooling="first",  # | "mean"
        text_pooling="first",  # | "last"
        retain=True,  # Random Round Retaining
        fewest_rounds=1,  # that it leaves; 0 where dialogues open with a description
        mask_rate=0.15,  # of tokens
        sdm=True,  # the release has none in pre-training
        epsilon=1e-6,  # of SDM
        logit_scale=50.0,  # start value; learnt
        logit_scale_limit=100.0,
    ))  # fmt: skip


def _small(refined: bool = True) -> ConfigDict:
    """Synthpedes at a size for two CPU cores; without a refiner it is a plain dual encoder."""
    config = sections.small(_START if refined else _START + "-dual", 3e-4, (3,))
    config.method = "diana"
    config.model.update(_ENCODERS)
    config.data.variant = "chat"
    config.text.max_tokens = config.model.bert.max_positions = 96
    config.optim.groups = ((r"logit_scale", 1.0, 0.0), *config.optim.groups)
    config.dialogue = _dialogue()
    config.dialogue.rounds = 5  # every dialogue has as many
    config.diana = _losses()
    # Queries that start alike stay alike in so few steps. (Attributes come out alike all the same.)
    config.diana.update(refiner_heads=2, query_std=1.0, logit_scale=1 / 0.07)
    if refined:  # one for each modality starts from the one for both
        config.start_rules.renamed = ((r"(text_)?refiner/(.*)", r"refiner/\2"),)
    else:
        config.diana.update(refiner="none", inference="global")
    return config


def _after_captions(refined: bool = True) -> ConfigDict:
    """As the release trains: from weights that know captions alone, ten epochs of few dialogues."""
    config = _small(refined)
    config.dialogue.per_image = 1
    config.train.epochs = (10,)
    config.train.evaluate_every = config.train.save_every = 2.5
    config.start = sections.START
    config.start_rules.update(_START_RULES)
    config.text.tokenizer = _START
    config.optim.learning_rate = 1e-3
    # What images look like is known; how dialogues speak, and the refiner, are not.
    images = ((r"vit/.*(bias|scale)", 0.5, 0.0), (r"vit/.*", 0.5, 0.02))
    config.optim.groups = (*images, *config.optim.groups)
    return config


def _causal(refined: bool = True) -> ConfigDict:
    """The same with the structure of the release: Llama, its last token, the mean of patches."""
    config = _after_captions(refined)
    config.model.vit.patch = 8
    del config.model.bert
    config.model.text_encoder = "llama"
    config.model.llama = ConfigDict(dict(
        width=128, depth=2, heads=4, key_heads=2, mlp=384, epsilon=1e-5, max_positions=512,
        remat=False, rope=dict(theta=10_000.0, factor=1.0, low=1.0, high=4.0, original=512),
    ))  # fmt: skip
    config.diana.update(image_pooling="mean", text_pooling="last")
    config.start = config.text.tokenizer = _START_CAUSAL
    unused = () if refined else (r"refiner/.*",)
    config.start_rules.update(fresh=(), unused=unused, renamed=(), longer=())
    return config


def _starting(refined: bool = True) -> ConfigDict:
    """What makes the start weights: captions and dialogues of many other people."""
    config = _after_captions(refined)
    config.data.variant = "medium"
    config.dialogue.update(source="mixed", per_image=0)
    config.diana.sdm = False  # as the release pre-trains
    config.optim.warmup_epochs = 0.1
    config.train.epochs = (1,)
    config.train.evaluate_every = config.train.save_every = 0.25
    return config


def _starting_patches() -> ConfigDict:
    """What makes images known to "start_causal", in patches of 8 x 8: captions of other people."""
    config = _reading_captions(_after_captions())
    config.model.vit.patch = 8
    config.diana.image_pooling = "mean"
    config.train.epochs = (2,)
    config.train.evaluate_every = config.train.save_every = 0.5
    config.optim.groups = config.optim.groups[2:]  # patches are learnt anew
    config.start_rules.update(
        fresh=(r"refiner/.*", r"logit_scale", _OF_PATCHES),
        unused=(*_START_RULES["unused"], _OF_PATCHES),
        longer=(r"text/embeddings/word_embeddings/embedding",),
    )
    config.model.bert.max_positions = 64
    return config


def _starting_causal() -> ConfigDict:
    """What makes the start weights of "causal"; config.start: those that "start_patches" made."""
    config = _reading_captions(_causal())
    config.start = ""
    config.start_rules.update(fresh=_OF_TEXT, unused=_OF_TEXT)
    config.start_rules.needs = "the folder that tools/export_start.py makes of start_patches"
    config.train.epochs = (1.2,)
    return config


def _reading_captions(config: ConfigDict) -> ConfigDict:
    """Changes a recipe to one that reads captions of other people alone, as the release does."""
    config.data.variant = "medium"
    config.text.max_tokens = 48
    config.dialogue.update(source="captions", rounds=0, per_image=0)
    config.diana.update(sdm=False, fewest_rounds=0)
    config.optim.warmup_epochs = 0.1
    config.train.evaluate_every = config.train.save_every = 0.4
    return config


def _paper(name: str) -> ConfigDict:
    """A published data set at the paper's scale."""
    config = ConfigDict()
    config.method = "diana"
    config.seed = 0
    config.start = ""  # files of weights to start from, or a folder; "random" = none
    config.start_rules = sections.start_rules(
        "deit_base_patch16_224-b5f2ef4d.pth of https://github.com/facebookresearch/deit and "
        "pytorch_model.bin of https://huggingface.co/google-bert/bert-base-uncased"
    )
    config.start_rules.fresh = _NOT_OF_ENCODERS
    config.data = sections.data(name, "")
    config.data.workers = 8
    config.data.val_people = 500 if name == "chatpedes" else 0  # the release has no val split
    config.image = sections.image((384, 192), "bicubic")
    config.image.update(
        mean=(0.38901278, 0.3651612, 0.34836376), std=(0.24344306, 0.23738699, 0.23368555),
        flip=0.5, pad=10, erase_probability=0.5,
    )  # fmt: skip
    config.text = sections.text(400)
    config.text.tokenizer = "bert-base-uncased"
    config.text.clean = "none"
    config.model = sections.base_model()
    config.model.embedding = 768
    config.model.update(_ENCODERS)
    config.model.vit.drop_path = 0.2
    config.model.bert.update(text_depth=12)
    config.train = sections.training(128, (10,))
    config.train.log_every = 50
    config.optim = sections.optimiser(1e-5)
    config.optim.min_learning_rate = 0.0
    config.optim.warmup_learning_rate = 0.0
    config.optim.warmup_epochs = 50 / 250  # 50 of about 250 steps an epoch
    config.optim.period = "step"
    config.optim.groups = ((r".*", 1.0, 0.05),)
    config.eval = sections.evaluation()
    config.dialogue = _dialogue()
    config.dialogue.update(question="ASSISTANT:", answer="USER:")
    config.diana = _losses()
    if name == "interactive_pedes":
        config.diana.fewest_rounds = 0
    return config


def _released() -> ConfigDict:
    """ChatPedes as the release trains on it: train/shell/finetune.sh, train/configs/config.json."""
    config = _paper("chatpedes")
    config.start_rules.needs = (
        "model.safetensors of https://huggingface.co/microsoft/swinv2-base-patch4-window12-192-22k "
        "and of https://huggingface.co/meta-llama/Llama-3.2-1B, or from DiaNA's own checkpoint of "
        "https://github.com/Flame-Chasers/DiaNA"
    )
    config.text.tokenizer = "meta-llama/Llama-3.2-1B"  # or a folder with its tokenizer.json
    config.model = ConfigDict(dict(
        dtype="bfloat16",
        embedding=768,
        init_std=0.02,
        image_encoder="swin",
        text_encoder="llama",
        swin=dict(
            patch=4, width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12, mlp_ratio=4,
            drop_path=0.2, remat=True,
        ),
        llama=dict(
            width=2048, depth=16, heads=32, key_heads=8, mlp=8192, epsilon=1e-5,
            max_positions=131_072, remat=True,
            rope=dict(theta=500_000.0, factor=32.0, low=1.0, high=4.0, original=8192),
        ),
    ))  # fmt: skip
    config.dialogue.update(system=_SYSTEM, breaks=("\n\n", "\n", "\n"), keep="oldest")
    # The mean of the patches, and the last word, which has read all others.
    config.diana.update(image_pooling="mean", text_pooling="last")
    return config
