"""Fields that cannot be are refused with their name, what was got and what is allowed."""

import numpy as np
import pytest

from configs import diana, laip
from jaxreid import config as rules
from jaxreid import embed, evaluate, optim, rerank, start
from jaxreid.arguments import check_arguments, load_recipe, overrides
from jaxreid.config import check, field_names, nearest
from jaxreid.data import composed, dataset, images, phrases, text
from jaxreid.metrics import ranking_metrics
from jaxreid.streams import network


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "liap"}, "got 'liap'; did you mean laip?"),
        ({"seed": -1}, "seed must be in 0..4294967295, got -1"),
        ({"seed": 2**32}, "seed must be in 0..4294967295, got 4294967296"),
        ({"data.name": "market"}, "data.name must be one of cuhk_pedes, icfg_pedes, rstpreid, cha"),
        ({"data.test_name": "itcp"}, "got 'itcp'; did you mean itcpr?"),
        ({"data.triplets": "x.json"}, "data.triplets must be '' for synthpedes"),
        ({"optim.trained": (".*",)}, "optim.trained must be () or a pattern for each of the 2"),
        ({"optim.trained": ("(", "a")}, "optim.trained: pattern '(' is no regular"),
        ({"image.size": (8192, 16)}, "image.size must be at most 4096, got (8192, 16)"),
        ({"data.workers": -1}, "data.workers must be >= 0, got -1"),
        ({"data.caption_limit": -2}, "data.caption_limit must be >= 0, got -2"),
        (
            {"data.images_per_person": 1},
            "data.images_per_person must be 0, or >= 2 and a divisor of",
        ),
        ({"data.images_per_person": 7}, "divisor of train.batch_size 64, got 7"),
        ({"data.val_people": 4}, "must be '', False and 0 for synthpedes, which is rendered, got"),
        ({"data.name": "rstpreid"}, "data.variant must be '' for rstpreid: synthpedes alone has"),
        ({"image.resize": "nearest"}, "image.resize must be one of bicubic, bilinear, got 'near"),
        ({"image.size": (96,)}, "image.size must be 2 numbers, height and width, got (96,)"),
        ({"image.size": (96, 50)}, "positive multiples of model.vit.patch 16, got (96, 50)"),
        ({"image.size": (96, 0)}, "positive multiples of model.vit.patch 16, got (96, 0)"),
        ({"image.size": (96.0, 48.0)}, "positive multiples of model.vit.patch 16, got (96.0"),
        ({"image.mean": (0.5,)}, "image.mean must be 3 numbers, one for each of red, green and bl"),
        ({"image.std": (0.5, 0.5, 0.0)}, "image.std must be > 0, got (0.5, 0.5, 0.0)"),
        ({"image.erase_area": (0.1, "b")}, "image.erase_area must be 2 numbers, lower and upper"),
        ({"model.dtype": "float16"}, "model.dtype must be one of float32, bfloat16, got 'float16"),
        ({"model.vit.patch": 0}, "model.vit.patch must be >= 1, got 0"),
        ({"model.vit.heads": 3}, "model.vit.width must be a multiple of model.vit.heads 3, got"),
        ({"model.bert.heads": 3}, "model.bert.width must be a multiple of model.bert.heads 3, go"),
        ({"model.bert.dropout": 1.0}, "model.bert.dropout must be in [0, 1), got 1.0"),
        ({"model.bert.max_positions": 2}, "model.bert.max_positions must be >= 3, got 2"),
        ({"text.max_tokens": 2}, "text.max_tokens must be in 3..64 (model.bert.max_positions), g"),
        ({"text.max_tokens": 65}, "text.max_tokens must be in 3..64 (model.bert.max_positions)"),
        ({"text.max_phrase_tokens": 65}, "text.max_phrase_tokens must be in 3..64"),
        ({"text.min_words": 9}, "text.min_words must be in 1..8, the words that fit text.max_phra"),
        ({"text.clean": "BLIP"}, "text.clean must be one of albef, blip, none, got 'BLIP'"),
        ({"text.tagger": "nltk"}, "text.tagger must be one of auto, perceptron, lexicon, got"),
        ({"train.batch_size": 0}, "train.batch_size must be a positive multiple of the 2 devices"),
        ({"train.batch_size": 63}, "train.batch_size must be a positive multiple of the 2 device"),
        ({"train.epochs": ()}, "train.epochs must be numbers, one a stage, at least one stage, g"),
        ({"train.epochs": (1, 0)}, "train.epochs must be > 0 for each stage, got (1, 0)"),
        ({"train.epochs": (1, "two")}, "train.epochs must be numbers, one a stage, at least one"),
        ({"train.stop_after": 3}, "train.stop_after must be in 0..2, the stages of train.epochs"),
        ({"train.log_every": 0}, "train.log_every must be >= 1, got 0"),
        ({"train.keep": 0}, "train.keep must be >= 1, got 0"),
        ({"train.evaluate_every": 0.0}, "train.evaluate_every must be > 0 epochs, got 0.0"),
        ({"optim.learning_rate": float("nan")}, "optim.learning_rate must be > 0, got nan"),
        ({"optim.warmup_epochs": 2.0}, "optim.warmup_epochs must be in [0, 2), shorter than each"),
        ({"optim.period": "batch"}, "optim.period must be one of step, epoch, got 'batch'"),
        ({"optim.beta1": 1.0}, "optim.beta1 must be in [0, 1), got 1.0"),
        (
            {"optim.min_learning_rate": 1.0},
            "optim.min_learning_rate must be at most optim.learning",
        ),
        (
            {"optim.groups": ()},
            "optim.groups must be groups of (pattern, factor on the rate >= 0, ",
        ),
        ({"optim.groups": ((".*", 1.0),)}, "optim.groups must be groups of (pattern, factor on t"),
        ({"optim.groups": (("(", 1.0, 0.0),)}, "optim.groups: pattern '(' is no regular express"),
        ({"eval.chunk": 3}, "eval.chunk must be a positive multiple of the 2 devices, got 3"),
        ({"eval.top_k": -1}, "eval.top_k must be >= 0, got -1"),
        ({"eval.rule": "ncs"}, "eval.rule must be one of albef, blip, cada, keep, nce, got 'ncs'"),
        ({"eval.temperature": -0.1}, "eval.temperature must be >= 0, got -0.1"),
        ({"model.init_std": 0.0}, "model.init_std must be > 0, got 0.0"),
        ({"eval.select": "R2"}, "one of R1, R5, R10, mAP, mINP, last, got 'R2'"),
        ({"eval.direction": "image_to_text"}, "eval.direction must be one of text_to_image, both"),
        ({"eval.token_dtype": "float64"}, "eval.token_dtype must be one of float32, bfloat16, g"),
    ],
)
def test_field_that_cannot_be_is_named(change, message):
    config = laip.get_config().unlock()
    config.train.epochs = (4, 2)
    check(config, devices=2)
    with config.ignore_type():
        config.update_from_flattened_dict(change)
    with pytest.raises(ValueError) as caught:
        check(config, devices=2)
    assert str(caught.value).startswith("config.")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_encoder": "resnet"}, "model.image_encoder must be one of vit, swin, got 'resnet'"),
        ({"text_encoder": "gpt"}, "model.text_encoder must be one of bert, llama, got 'gpt'"),
        ({"swin.patch": 5}, "image.size must be positive multiples of model.swin.patch 5, got"),
        ({"swin.window": 0}, "model.swin.window must be >= 1, got 0"),
        ({"swin.drop_path": 1.0}, "model.swin.drop_path must be in [0, 1), got 1.0"),
        ({"swin.depths": (2, 0)}, "model.swin.depths must be whole numbers >= 1, got (2, 0)"),
        (
            {"swin.heads": (4, 8)},
            "model.swin.heads must be as many as model.swin.depths (2, 2, 18,",
        ),
        (
            {"swin.heads": (4, 8, 16, 3)},
            "divisors of the widths of the stages (128, 256, 512, 1024",
        ),
        ({"llama.heads": 30}, "model.llama.width must be a multiple of twice model.llama.heads 30"),
        ({"llama.key_heads": 5}, "model.llama.key_heads must be a divisor of model.llama.heads 32"),
        ({"llama.epsilon": 0.0}, "model.llama.epsilon must be in (0, 1), got 0.0"),
        ({"llama.rope.theta": 0.0}, "model.llama.rope.theta must be > 0, got 0.0"),
        ({"llama.rope.high": 1.0}, "model.llama.rope.high must be above model.llama.rope.low 1.0"),
        (
            {"llama.max_positions": 399},
            "text.max_tokens must be in 3..399 (model.llama.max_positio",
        ),
    ],
)
def test_encoder_that_cannot_be_is_named(change, message):
    config = diana.get_config("released").unlock()
    with config.ignore_type():
        config.update_from_flattened_dict({f"model.{name}": x for name, x in change.items()})
    with pytest.raises(ValueError) as caught:
        check(config, devices=1)
    assert message in str(caught.value)


def test_a_config_of_another_version_is_told():
    config = laip.get_config().unlock()
    del config.data.test_name
    with pytest.raises(ValueError, match="the config has no field 'test_name': it is of another"):
        check(config, devices=1)


@pytest.mark.parametrize("field", ["start", "data.manual_dir"])
def test_path_that_is_not_there_is_named(field, tmp_path):
    config = laip.get_config("rstpreid")
    (tmp_path / start.FILE).touch()
    config.update_from_flattened_dict({field: str(tmp_path)})
    check(config, devices=1)
    config.update_from_flattened_dict({field: str(tmp_path / "none")})
    with pytest.raises(FileNotFoundError, match=rf"config\.{field}: no such .*none"):
        check(config, devices=1)


def test_folder_without_start_weights_is_named(tmp_path):
    config = laip.get_config()
    config.start = str(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"config.start: no weights.npz and no .*export_start"
    ):
        check(config, devices=1)


def test_words_are_those_of_the_modules_that_mean_them():
    assert rules.START_FILES == (start.FILE, start.MODEL_FILE)
    assert set(rules.DATA_SETS) == set(dataset.DATA_SETS)
    assert {*rules.DATA_SETS, *rules.COMPOSED_SETS} == set(composed.COMPOSED)
    assert rules.PERIODS == optim.PERIODS
    assert set(rules.RESAMPLERS) == set(images.RESAMPLERS)
    assert rules.CLEANERS == text.STYLES
    assert rules.TAGGERS == phrases.SOURCES
    assert rules.RULES == rerank.RULES
    assert rules.DIRECTIONS == evaluate.DIRECTIONS
    assert set(rules.DTYPES) == set(network.DTYPES) == set(embed.TOKEN_DTYPES)


def test_metrics_to_select_by_are_those_that_are_computed():
    ids = np.arange(2, dtype=np.int32)
    assert tuple(ranking_metrics(np.eye(2, dtype=np.float32), ids, ids)) == rules.METRICS


def test_nearest_name_is_told_and_a_far_one_is_not():
    assert nearest("batchsize", ["chunk", "batch_size"]) == "; did you mean batch_size?"
    assert nearest("xyz", ["chunk", "batch_size"]) == ""


def test_field_names_hold_sections_and_fields():
    names = field_names(laip.get_config())
    assert {"config.seed", "config.model", "config.model.vit.patch"} <= set(names)


def test_overrides_are_found_in_all_their_forms():
    argv = ["main.py", "--config=a.py", "--config.a=1", "-config.b.c", "2", "--noconfig.d", "--x"]
    assert overrides(argv) == [("config.a", "1"), ("config.b.c", "2"), ("config.d", None)]


@pytest.mark.parametrize("given", [["--config", "configs/laip.py"], ["-config=configs/laip.py:"]])
def test_right_arguments_pass(given, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    check_arguments(
        ["main.py", *given, "--config.train.epochs=(1,1)", "--config.seed", "3", "--config.start="]
    )


def test_recipe_is_loaded_with_its_variant(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert load_recipe("configs/albef.py:rstpreid-384x128").image.size == (384, 128)
