"""Sections that several recipes share; each value stands once, with its source."""

from ml_collections import ConfigDict

# Folder names under data.manual_dir are those of the published data sets.
PAPER_DATA = ("cuhk_pedes", "icfg_pedes", "rstpreid")

# Weights of the small network, made by configs/laip.py:start and tools/export_start.py.
START = "configs/start/synthpedes"

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def data(name: str, variant: str) -> ConfigDict:
    """Which data set, and how it is read."""
    return ConfigDict(dict(
        name=name,
        variant=variant,  # of synthpedes: default | large | tiny
        data_dir="~/.cache/jaxreid",  # where prepared data sets are kept
        manual_dir="",  # folder of a published data set, or the folder that holds it
        allow_partial=False,  # go on where counts differ from the published ones
        caption_limit=0,  # captions of an image to use; 0 = all, 2 = the first two
        val_people=0,  # of icfg_pedes, which has no val split: people of train held out as val
        # Of methods that search by a photo plus words: a file of triplets over the images of a
        # captioned data set; "" makes queries of its captions.
        triplets="",
        test_name="",  # data set whose test split is ranked, where it is another one
        test_manual_dir="",
        # k > 0: batches of B/k people, or groups of people in one outfit, with k pairs each.
        images_per_person=0,
        workers=0,  # processes that read and augment; 0 = threads
    ))  # fmt: skip


def image(size: tuple[int, int], resize: str) -> ConfigDict:
    """Size in pixels (height, width), normalisation and augmentation of images."""
    return ConfigDict(dict(
        size=size,
        # (height, width) at which images are augmented before black margins make a square of them,
        # which is resized to `size`; () = resized to `size` at once.
        framed=(),
        resize=resize,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        flip=0.5,
        pad=0,
        pad_value=0,
        erase_probability=0.0,
        erase_area=(0.02, 0.4),
        erase_aspect=(0.3, 3.3),
        erase_colour=(123, 117, 104),
    ))  # fmt: skip


def text(max_tokens: int) -> ConfigDict:
    """Tokenizer, cleaning and phrases of captions."""
    return ConfigDict(dict(
        tokenizer="",  # folder or hub name; "" trains a vocabulary on the data set
        vocabulary=2000,  # size of a trained vocabulary, at most
        max_tokens=max_tokens,  # with [CLS] and [SEP]; longer captions are cut
        max_words=50,  # words of a caption kept by cleaning (ALBEF, RaSa)
        clean="albef",  # "albef" | "blip" | "none"
        tagger="auto",  # "auto" | "perceptron" | "lexicon": what finds noun phrases
        min_words=2,  # of a phrase: one word is masked, another is left as context
        max_phrase_tokens=10,  # with [CLS] and [SEP]; longer phrases are left out
    ))  # fmt: skip


def start_rules(needs: str = "") -> ConfigDict:
    """What `start` is, and in what a network differs from it: patterns of whole parameter names.

    Args:
      needs: of a recipe that does not learn without start weights: file and project, for messages.
    """
    return ConfigDict(dict(
        needs=needs,
        # Of each published file that `start` names, with commas between them; "" is told from
        # its keys. See jaxreid/weights/kinds.
        kind="",
        fresh=(),  # parameters that stay random
        unused=(),  # parameters, or keys, of the start weights that are left out
        renamed=(),  # (pattern, name in the start weights)
        longer=(),  # parameters with more rows than there; the last rows stay random
    ))  # fmt: skip


def small_model() -> ConfigDict:
    """A network that trains in minutes on two CPU cores."""
    return ConfigDict(dict(
        dtype="float32",
        embedding=128,
        init_std=0.06,  # of start weights; narrow networks do not leave the start with 0.02
        vit=dict(patch=16, width=128, depth=4, heads=4, mlp=512, drop_path=0.0, dropout=0.0),
        bert=dict(
            width=128, text_depth=2, cross_depth=2, heads=4, mlp=512, max_positions=64, dropout=0.0
        ),
    ))  # fmt: skip


def base_model() -> ConfigDict:
    """ViT-B/16 and BERT-base, split 6 + 6: ALBEF's network."""
    return ConfigDict(dict(
        dtype="bfloat16",
        embedding=256,
        init_std=0.02,  # of start weights: BERT, timm
        vit=dict(patch=16, width=768, depth=12, heads=12, mlp=3072, drop_path=0.0, dropout=0.0),
        bert=dict(
            width=768, text_depth=6, cross_depth=6, heads=12, mlp=3072, max_positions=512,
            dropout=0.1,
        ),
    ))  # fmt: skip


def evaluation() -> ConfigDict:
    """How a gallery is ranked."""
    return ConfigDict(dict(
        batch_size=64,  # images or queries encoded at a time, global
        chunk=1024,  # queries a similarity block
        top_k=32,  # candidates re-ranked; the papers use 128
        pair_batch=256,  # pairs matched at a time, global
        query_chunk=512,  # queries, and images, whose tokens are on the devices while re-ranking
        image_chunk=512,
        rule="albef",  # how match score and similarity are joined, see jaxreid/rerank.py
        temperature=0.0,  # of the rule "nce"; 0 = the learnt one
        token_dtype="bfloat16",  # of the image tokens kept for re-ranking
        direction="text_to_image",  # | "both": also rank captions for each image
        missing="error",  # | "skip": queries whose person is not in the gallery
        rerank_val=False,  # re-rank on val too, and select by the final score
        select="R1",  # val metric of the best checkpoint; "last" takes the last step instead
        sheet_queries=12,  # rows of ranks.png
    ))  # fmt: skip


def training(batch_size: int, epochs: tuple) -> ConfigDict:
    """Length, batches and bookkeeping of a run."""
    return ConfigDict(dict(
        batch_size=batch_size,  # global
        epochs=epochs,  # of each stage
        stop_after=0,  # stages after which to stop; the run can be gone on with. 0 = all
        steps_per_epoch=0,  # 0 = once through the data
        log_every=10,  # steps
        evaluate_every=1.0,  # epochs
        save_every=1.0,  # epochs
        keep=1,  # latest checkpoints kept besides the best
        compilation_cache=True,  # keep compiled programs under data.data_dir
    ))  # fmt: skip


def optimiser(learning_rate: float) -> ConfigDict:
    """AdamW and its schedule, as ALBEF and RaSa fine-tune."""
    return ConfigDict(dict(
        learning_rate=learning_rate,
        min_learning_rate=1e-6,
        warmup_learning_rate=1e-5,
        warmup_epochs=1.0,
        period="epoch",  # how often the rate changes: "epoch" | "step"
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        clip_norm=0.0,  # 0 = no clipping
        accumulate=1,  # batches per optimiser step
        # A pattern for each stage: the parameters that it changes; () = all in every stage.
        trained=(),
        # (pattern, factor on the rate, weight decay); the first that matches a name counts.
        groups=(
            (r"temperature", 1.0, 0.0),
            # RaSa: heads that no start weights fill learn ten times faster; no decay on 1-D.
            (r"(mlm|itm_head)/.*(bias|scale)", 10.0, 0.0),
            (r"(mlm|itm_head)/.*", 10.0, 0.02),
            (r".*(bias|scale)", 1.0, 0.0),
            (r".*", 1.0, 0.02),
        ),
    ))  # fmt: skip


def albef_losses() -> ConfigDict:
    """ITC and ITM of ALBEF (retrieval release); LAIP adds to them."""
    return ConfigDict(dict(
        temperature=0.07,  # start value; learnt
        temperature_limits=(0.0, 1000.0),  # no clip, as ALBEF; BLIP clips to (0.001, 0.5)
        momentum=0.995,
        batch_keys="momentum",  # | "online": keys of the batch itself, with gradient
        queue_length=65536,
        queue_epochs=0.0,  # epochs before the queue acts
        alpha=0.4,  # share of soft labels
        alpha_epochs=1.0,  # over which it rises from 0
        hardness_epochs=0.0,  # over which negatives go from random to hard; 0 = hard at once
        matching_rows=0,  # pairs of a batch that ITM sees, with two negatives each; 0 = all
        triplet=False,
        triplet_margin=0.6,  # LAIP, Fig. 6
        triplet_score="probability",  # "probability" | "logit" of a match; not printed
    ))  # fmt: skip


def recipe(variant: str) -> ConfigDict:
    """Returns the parts of a recipe that ALBEF and LAIP share.

    Args:
      variant: "" (synthpedes on two CPU cores), "random" (the same without start weights), "start"
        (makes the start weights), or a published data set, with "-384x128" behind it for images
        of that size, or "-small" for the network of "" and its start weights.
    """
    name, _, size = variant.partition("-")
    if variant == "":
        config = _small(START, 3e-4, (2, 1))
        config.eval.rerank_val = True  # the matcher is what the last stage is for
        config.losses.queue_length = 1024
        config.losses.temperature_limits = (0.01, 0.5)
    elif variant == "random":
        config = _small("", 1e-3, (4, 2))
        _from_random(config)
        config.losses.hardness_epochs = 3.0
    elif variant == "start":
        config = _small("", 1e-3, (2.1,))
        _from_random(config)
        config.data.variant = "medium"
        config.train.evaluate_every = config.train.save_every = 0.3
        config.losses.hardness_epochs = 1.5
    elif name in PAPER_DATA and size in ("", "384x128"):
        config = _paper(name, (384, 128) if size else (384, 384))
    elif name in PAPER_DATA and size == "small":
        config = _small(START, 1e-3, (20, 4))
        config.data = data(name, "")
        config.data.val_people = val_people(name)
        config.image.update(flip=0.5, pad=4)
        config.optim.warmup_epochs = 0.5
        config.train.evaluate_every = config.train.save_every = 2.0
        _from_random(config)
        config.losses.update(momentum=0.995, alpha=0.0)
    else:
        sizes = ("", "-384x128", "-small")
        known = ["", "random", "start"] + [f"{d}{s}" for d in PAPER_DATA for s in sizes]
        raise ValueError(f"unknown variant {variant!r}; know: {', '.join(map(repr, known))}")
    return config


def small(start: str, learning_rate: float, epochs: tuple) -> ConfigDict:
    """Returns what the recipes on synthpedes at a size for two CPU cores share.

    Args:
      start: folder of the start weights and their vocabulary; "" is random, and learns one.
      learning_rate: after warm-up.
      epochs: of each stage.
    """
    config = ConfigDict()
    config.seed = 0
    config.start = start  # folder of weights to start from; "" = random
    config.start_rules = start_rules()
    config.data = data("synthpedes", "default")
    config.image = image((96, 48), "bicubic")
    config.image.flip = 0.0  # captions say left and right
    config.text = text(40)
    config.text.tokenizer = start
    config.model = small_model()
    config.train = training(64, epochs)
    config.optim = optimiser(learning_rate)
    config.optim.min_learning_rate = 1e-5
    config.optim.period = "step"
    config.optim.clip_norm = 1.0
    config.optim.warmup_epochs = 0.25
    config.optim.groups = ((r".*(bias|scale)", 1.0, 0.0), (r".*", 1.0, 0.02))
    config.eval = evaluation()
    return config


def _small(start: str, learning_rate: float, epochs: tuple) -> ConfigDict:
    """The same for ALBEF and LAIP."""
    config = small(start, learning_rate, epochs)
    config.optim.groups = ((r"temperature", 0.1, 0.0), *config.optim.groups)
    config.losses = albef_losses()
    return config


def _from_random(config: ConfigDict) -> None:
    """Makes a small recipe learn without start weights: see jaxreid/streams/image_text.py."""
    config.losses.batch_keys = "online"
    config.losses.queue_length = 1024
    config.losses.queue_epochs = float(sum(config.train.epochs))
    config.losses.momentum = 0.98
    config.losses.alpha = 0.2
    config.losses.temperature_limits = (0.01, 0.5)
    config.losses.matching_rows = 32


def _paper(name: str, size: tuple[int, int]) -> ConfigDict:
    """A published data set at the paper's scale."""
    config = ConfigDict()
    config.seed = 0
    config.start = ""  # files of weights to start from, or a folder; "random" = none
    config.start_rules = start_rules("mscoco.pth of https://github.com/salesforce/ALBEF")
    config.data = data(name, "")
    config.data.workers = 8
    config.data.val_people = val_people(name)
    config.image = image(size, "bicubic")
    config.text = text(50)
    config.text.tokenizer = "bert-base-uncased"
    config.model = base_model()
    config.train = training(52, (30, 15))  # 13 images on each of 4 GPUs
    config.train.log_every = 50
    config.optim = optimiser(1e-5)
    config.eval = evaluation()
    config.eval.top_k = 128
    config.losses = albef_losses()
    return config


def val_people(name: str) -> int:
    """Returns people of train held out as val: of ICFG-PEDES 5 %; releases use test."""
    return 155 if name == "icfg_pedes" else 0
