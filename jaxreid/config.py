"""Rules for the fields of a config, checked before anything is read or allocated."""

import difflib
import math
import os
import re
from typing import Any

from ml_collections import ConfigDict

# The words that fields may have, stated where nothing heavy is imported. The modules that give
# them their meaning have the same lists.
DATA_SETS = (
    "cuhk_pedes", "icfg_pedes", "rstpreid", "chatpedes", "interactive_pedes", "synthpedes",
)  # fmt: skip
UNCAPTIONED_SETS = ("chatpedes",)  # of them those with dialogues alone
COMPOSED_SETS = ("itcpr", "tgcpr", "syncpr")  # for methods that search by a photo plus words
DTYPES = ("float32", "bfloat16")
IMAGE_ENCODERS, TEXT_ENCODERS = ("vit", "swin"), ("bert", "llama")  # sections of config.model
PERIODS = ("step", "epoch")
KINDS = ("adamw", "adam")
RESAMPLERS = ("bicubic", "bilinear")
CLEANERS = ("albef", "blip", "none")
TAGGERS = ("auto", "perceptron", "lexicon")
RULES = ("albef", "blip", "cada", "keep", "nce")
DIRECTIONS = ("text_to_image", "both")
MISSING = ("error", "skip")
METRICS = ("R1", "R5", "R10", "mAP", "mINP")

# Files of a folder of start weights: as jaxreid/start.py writes them, or of a saved model.
START_FILES = ("weights.npz", "model.safetensors")
RANDOM = "random"  # config.start of a run that chooses to have no start weights
_MAX_SIDE = 4096  # pixels of an image that a network reads
_MAX_SEED = 2**32 - 1  # jax.random.key takes 32 bits: one more would be seed 0 again


def check(config: ConfigDict, devices: int) -> None:
    """Raises if two fields of a config cannot be used together, or one is out of range.

    What a method's own section allows, its `make` checks.

    Args:
      config: of the shape that configs/sections.py gives.
      devices: number of devices of all processes.

    Raises:
      ValueError: names the field, what was got and what is allowed; a field that is not there, as
        in the config of a run of another version.
      FileNotFoundError: a path that is not there.
    """
    try:
        _check(config, devices)
    except (AttributeError, KeyError) as error:
        field = str(error.args[0]).strip("\"'")
        raise ValueError(
            f"the config has no field {field!r}: it is of another version of jaxreid, or of no "
            "recipe of it"
        ) from error


def _check(config: ConfigDict, devices: int) -> None:
    """`check`, but for fields that are not there."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "methods")
    methods = sorted(f[:-3] for f in os.listdir(folder) if f[0] != "_" and f.endswith(".py"))
    _one_of("method", config.method, methods)
    _is("seed", config.seed, 0 <= config.seed <= _MAX_SEED, f"in 0..{_MAX_SEED}")
    _check_data(config.data)
    _check_model(config.model)  # first: the others divide by its patch and heads
    images, text = encoders(config.model)
    _check_image(config.image, images, config.model[images].patch)
    _check_text(config.text, text, config.model[text].max_positions)
    _check_train(config.train, devices)
    people, batch_size = config.data.images_per_person, config.train.batch_size
    _is("data.images_per_person", people, not people or (people > 1 and batch_size % people == 0),
        f"0, or >= 2 and a divisor of train.batch_size {batch_size}")  # fmt: skip
    _check_optim(config.optim, config.train)
    _check_eval(config.eval, devices)
    _check_start(config.start, config.start_rules)


def check_needed(config: ConfigDict) -> None:
    """Raises where a recipe needs start weights and training is to begin without any.

    Raises:
      ValueError: tells which files of which project, and how random weights are chosen.
    """
    needs = config.start_rules.needs
    if needs and not config.start:
        raise ValueError(
            f"config.start: this recipe starts from {needs}; give the path of the file where it "
            "was put, of several with commas between them, or train from random weights with "
            f"--config.start={RANDOM}"
        )


def _check_start(start: str, rules: ConfigDict) -> None:
    """Rules of `start`: one of our folders, or published files."""
    folder = os.path.expanduser(start)
    if start in ("", RANDOM):
        return
    if os.path.isdir(folder):
        if not any(os.path.isfile(os.path.join(folder, name)) for name in START_FILES):
            raise FileNotFoundError(
                f"config.start: no {' and no '.join(START_FILES)} in {start}; "
                "tools/export_start.py and tools/convert_weights.py make one"
            )
        if rules.kind:
            raise ValueError(
                f"config.start_rules.kind must be '' where config.start is a folder, got "
                f"{rules.kind!r}"
            )
        return
    for path in start.split(","):
        if not os.path.isfile(os.path.expanduser(path.strip())):
            raise FileNotFoundError(f"config.start: no such file or folder: {path}")
    if rules.renamed or rules.longer:
        raise ValueError(
            "config.start_rules.renamed and .longer must be () where config.start is a published "
            "file, whose names a table knows"
        )


def _check_data(data: ConfigDict) -> None:
    """Rules of the section `data`."""
    _one_of("data.name", data.name, (*DATA_SETS, *COMPOSED_SETS))
    if "people" in data:  # of recipes whose method classifies people
        _is("data.people", data.people, data.people >= 0, ">= 0")
    for name in ("caption_limit", "val_people", "images_per_person", "workers"):
        _is(f"data.{name}", data[name], data[name] >= 0, ">= 0")
    if data.name == "synthpedes":
        given = (data.manual_dir, data.allow_partial, data.val_people)
        _is("data.manual_dir, .allow_partial and .val_people", given, not any(given),
            "'', False and 0 for synthpedes, which is rendered")  # fmt: skip
    else:
        _is("data.variant", data.variant, not data.variant,
            f"'' for {data.name}: synthpedes alone has variants")  # fmt: skip
    _one_of("data.test_name", data.test_name, ("", *DATA_SETS, *COMPOSED_SETS))
    for name in ("manual_dir", "test_manual_dir"):
        folder = data[name]
        if folder and not os.path.isdir(os.path.expanduser(folder)):
            raise FileNotFoundError(f"config.data.{name}: no such folder: {folder}")
    _is("data.triplets", data.triplets,
        not data.triplets or (data.name in DATA_SETS and data.name != "synthpedes"),
        f"'' for {data.name}, which has its own")  # fmt: skip
    if data.triplets and not os.path.isfile(os.path.expanduser(data.triplets)):
        raise FileNotFoundError(f"config.data.triplets: no such file: {data.triplets}")


def encoders(model: ConfigDict) -> tuple[str, str]:
    """Returns the sections of `model` that give the sizes of the image and the text encoder."""
    if "image_encoder" not in model:  # of methods that have no choice
        return "vit", "bert"
    return model.image_encoder, model.text_encoder


def patch_grid(config: ConfigDict) -> tuple[int, int]:
    """Returns how many patches an image has, in its height and its width."""
    patch = config.model[encoders(config.model)[0]].patch
    height, width = config.image.size
    return height // patch, width // patch


def _check_image(image: ConfigDict, encoder: str, patch: int) -> None:
    """Rules of the section `image` that concern the network; `read_augmentation` has the others."""
    _one_of("image.resize", image.resize, RESAMPLERS)
    _numbers("image.size", image.size, 2, "height and width")
    whole = all(isinstance(side, int) and side > 0 and side % patch == 0 for side in image.size)
    _is(
        "image.size",
        tuple(image.size),
        whole,
        f"positive multiples of model.{encoder}.patch {patch}",
    )
    _is("image.size", tuple(image.size), max(image.size) <= _MAX_SIDE, f"at most {_MAX_SIDE}")
    framed = image.framed
    _is("image.framed", framed, isinstance(framed, tuple | list) and len(framed) in (0, 2)
        and all(isinstance(side, int) and side > 0 for side in framed),
        "() or a height and a width > 0")  # fmt: skip
    for name in ("mean", "std"):
        _numbers(f"image.{name}", image[name], 3, "one for each of red, green and blue")
    _is("image.std", tuple(image.std), min(image.std) > 0, "> 0")
    for name in ("erase_area", "erase_aspect"):
        _numbers(f"image.{name}", image[name], 2, "lower and upper limit")
    if not isinstance(image.erase_colour, str):
        _numbers("image.erase_colour", image.erase_colour, 3, "red, green and blue")


def _check_model(model: ConfigDict) -> None:
    """Rules of the section `model`."""
    _one_of("model.dtype", model.dtype, DTYPES)
    _positive("model", model, "embedding")
    _is("model.init_std", model.init_std, 0 < model.init_std < math.inf, "> 0")
    images, text = encoders(model)
    _one_of("model.image_encoder", images, IMAGE_ENCODERS)
    _one_of("model.text_encoder", text, TEXT_ENCODERS)
    sizes = {"vit": ("patch", "width", "depth", "heads", "mlp"),
             "swin": ("patch", "width", "window", "mlp_ratio"),
             "bert": ("width", "text_depth", "cross_depth", "heads", "mlp"),
             "llama": ("width", "depth", "heads", "key_heads", "mlp")}  # fmt: skip
    for name in (images, text):
        _positive(f"model.{name}", model[name], *sizes[name])
    for name in {images, text} & {"vit", "bert"}:
        part = model[name]
        _is(f"model.{name}.width", part.width, part.width % part.heads == 0,
            f"a multiple of model.{name}.heads {part.heads}")  # fmt: skip
        _share(f"model.{name}.dropout", part.dropout)
    _share(f"model.{images}.drop_path", model[images].drop_path)
    if images == "swin":
        _check_swin(model.swin)
    if text == "llama":
        _check_llama(model.llama)
    positions = model[text].max_positions
    _is(f"model.{text}.max_positions", positions, positions >= 3, ">= 3")  # [CLS], a token, [SEP]


def _check_swin(swin: ConfigDict) -> None:
    """Rules of the section `model.swin` besides those of all encoders."""
    for name in ("depths", "heads"):
        _numbers(f"model.swin.{name}", swin[name], None, "one a stage")
        whole = all(isinstance(number, int) and number >= 1 for number in swin[name])
        _is(f"model.swin.{name}", tuple(swin[name]), whole, "whole numbers >= 1")
    _is("model.swin.heads", tuple(swin.heads), len(swin.heads) == len(swin.depths),
        f"as many as model.swin.depths {tuple(swin.depths)}")  # fmt: skip
    widths = [swin.width * 2**i for i in range(len(swin.heads))]
    _is("model.swin.heads", tuple(swin.heads),
        all(width % heads == 0 for width, heads in zip(widths, swin.heads, strict=True)),
        f"divisors of the widths of the stages {tuple(widths)}")  # fmt: skip


def _check_llama(llama: ConfigDict) -> None:
    """Rules of the section `model.llama` besides those of all encoders."""
    _is("model.llama.width", llama.width, llama.width % (2 * llama.heads) == 0,
        f"a multiple of twice model.llama.heads {llama.heads}")  # fmt: skip
    _is("model.llama.key_heads", llama.key_heads, llama.heads % llama.key_heads == 0,
        f"a divisor of model.llama.heads {llama.heads}")  # fmt: skip
    _is("model.llama.epsilon", llama.epsilon, 0 < llama.epsilon < 1, "in (0, 1)")
    rope = llama.rope
    for name in ("theta", "factor", "low", "original"):
        _is(f"model.llama.rope.{name}", rope[name], 0 < rope[name] < math.inf, "> 0")
    _is("model.llama.rope.high", rope.high, rope.low < rope.high < math.inf,
        f"above model.llama.rope.low {rope.low}")  # fmt: skip


def _check_text(text: ConfigDict, encoder: str, positions: int) -> None:
    """Rules of the section `text`."""
    _one_of("text.clean", text.clean, CLEANERS)
    _one_of("text.tagger", text.tagger, TAGGERS)
    _positive("text", text, "vocabulary", "max_words")
    for name in ("max_tokens", "max_phrase_tokens"):
        _is(f"text.{name}", text[name], 3 <= text[name] <= positions,
            f"in 3..{positions} (model.{encoder}.max_positions)")  # fmt: skip
    most = text.max_phrase_tokens - 2
    _is("text.min_words", text.min_words, 1 <= text.min_words <= most,
        f"in 1..{most}, the words that fit text.max_phrase_tokens")  # fmt: skip


def _check_train(train: ConfigDict, devices: int) -> None:
    """Rules of the section `train`."""
    _divided("train.batch_size", train.batch_size, devices)
    _numbers("train.epochs", train.epochs, None, "one a stage, at least one stage")
    _is("train.epochs", tuple(train.epochs), min(train.epochs) > 0, "> 0 for each stage")
    _positive("train", train, "log_every", "keep")
    for name in ("evaluate_every", "save_every"):
        _is(f"train.{name}", train[name], 0 < train[name] < math.inf, "> 0 epochs")
    _is("train.steps_per_epoch", train.steps_per_epoch, train.steps_per_epoch >= 0, ">= 0")
    _is("train.stop_after", train.stop_after, 0 <= train.stop_after <= len(train.epochs),
        f"in 0..{len(train.epochs)}, the stages of train.epochs")  # fmt: skip


def _check_optim(optim: ConfigDict, train: ConfigDict) -> None:
    """Rules of the section `optim`; which parameters the groups cover is known later."""
    _one_of("optim.period", optim.period, PERIODS)
    _positive("optim", optim, "accumulate")
    _is("optim.learning_rate", optim.learning_rate, 0 < optim.learning_rate < math.inf, "> 0")
    for name in ("min_learning_rate", "warmup_learning_rate", "clip_norm"):
        _is(f"optim.{name}", optim[name], 0 <= optim[name] < math.inf, ">= 0")
    _is("optim.min_learning_rate", optim.min_learning_rate,
        optim.min_learning_rate <= optim.learning_rate,
        f"at most optim.learning_rate {optim.learning_rate}")  # fmt: skip
    shortest = min(train.epochs)
    _is("optim.warmup_epochs", optim.warmup_epochs, 0 <= optim.warmup_epochs < shortest,
        f"in [0, {shortest}), shorter than each stage of train.epochs")  # fmt: skip
    for name in ("beta1", "beta2"):
        _share(f"optim.{name}", optim[name])
    trained, stages = optim.trained, len(train.epochs)
    _is("optim.trained", trained, isinstance(trained, tuple | list) and len(trained) in (0, stages)
        and all(isinstance(pattern, str) for pattern in trained),
        f"() or a pattern for each of the {stages} stages of train.epochs")  # fmt: skip
    for pattern in trained:
        _is_pattern("optim.trained", pattern)
    _is("optim.epsilon", optim.epsilon, 0 < optim.epsilon < math.inf, "> 0")
    for group in optim.groups or [()]:  # none at all is as wrong as one that is no group
        whole = isinstance(group, tuple | list) and len(group) in (3, 4)
        whole = whole and isinstance(group[0], str)
        _is("optim.groups", group, whole and all(_is_number(x) and x >= 0 for x in group[1:3]),
            "groups of (pattern, factor on the rate >= 0, weight decay >= 0)")  # fmt: skip
        if len(group) == 4:
            _one_of("optim.groups: the kind of decay", group[3], KINDS)
        _is_pattern("optim.groups", group[0])


def _check_eval(evaluation: ConfigDict, devices: int) -> None:
    """Rules of the section `eval`."""
    for name in ("batch_size", "chunk", "pair_batch"):
        _divided(f"eval.{name}", evaluation[name], devices)
    _positive("eval", evaluation, "query_chunk", "image_chunk", "sheet_queries")
    _is("eval.top_k", evaluation.top_k, evaluation.top_k >= 0, ">= 0")
    _one_of("eval.rule", evaluation.rule, RULES)
    _is("eval.temperature", evaluation.temperature, 0 <= evaluation.temperature < math.inf, ">= 0")
    _one_of("eval.token_dtype", evaluation.token_dtype, DTYPES)
    _one_of("eval.direction", evaluation.direction, DIRECTIONS)
    _one_of("eval.missing", evaluation.missing, MISSING)
    _one_of("eval.select", evaluation.select, (*METRICS, "last"))


def nearest(name: str, allowed: list[str]) -> str:
    """Returns "; did you mean X?" for the nearest allowed name, or nothing if none is near."""
    found = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def field_names(config: ConfigDict, prefix: str = "config") -> list[str]:
    """Returns "config.a.b" of every field and section."""
    names = []
    for key, value in config.items():
        names.append(f"{prefix}.{key}")
        if isinstance(value, ConfigDict):
            names += field_names(value, f"{prefix}.{key}")
    return names


def _one_of(field: str, value: Any, allowed: tuple | list) -> None:
    """Refuses a value that is not in a list."""
    if value not in allowed:
        raise ValueError(
            f"config.{field} must be one of {', '.join(allowed)}, got {value!r}"
            f"{nearest(value, list(allowed))}"
        )


def _is(field: str, value: Any, holds: bool, allowed: str) -> None:
    """Refuses a value for which a rule does not hold."""
    if not holds:
        raise ValueError(f"config.{field} must be {allowed}, got {value!r}")


def _is_pattern(field: str, value: str) -> None:
    """Refuses what is no regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(
            f"config.{field}: pattern {value!r} is no regular expression: {error}"
        ) from error


def _positive(section: str, values: ConfigDict, *names: str) -> None:
    """Refuses whole numbers below 1."""
    for name in names:
        _is(f"{section}.{name}", values[name], values[name] >= 1, ">= 1")


def _share(field: str, value: float) -> None:
    """Refuses what is no share below the whole."""
    _is(field, value, 0 <= value < 1, "in [0, 1)")


def _divided(field: str, value: int, devices: int) -> None:
    """Refuses a size that does not split over the devices."""
    _is(field, value, value > 0 and value % devices == 0,
        f"a positive multiple of the {devices} devices" if devices > 1 else ">= 1")  # fmt: skip


def _numbers(field: str, value: Any, count: int | None, meaning: str) -> None:
    """Refuses what is no tuple of so many finite numbers; None: one or more."""
    whole = isinstance(value, tuple | list) and (len(value) == count if count else len(value) > 0)
    _is(field, value, whole and all(_is_number(x) and math.isfinite(x) for x in value),
        f"{count or ''} numbers, {meaning}".lstrip())  # fmt: skip


def _is_number(value: Any) -> bool:
    """Whether a value counts something."""
    return isinstance(value, int | float) and not isinstance(value, bool)
