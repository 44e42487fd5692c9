"""Every recipe and variant: checked, built, and traced at its full size; nothing is allocated."""

import importlib
import json
import pathlib
import re
from functools import partial

import jax
import numpy as np
import pytest
from reads import recorded_reads, unread

from jaxreid.config import check
from jaxreid.data.dialogues import Dialogue
from jaxreid.data.text import SPECIAL
from jaxreid.optim import Group, assign_groups, parameter_name

ROOT = pathlib.Path(__file__).parents[1]
RECIPES = sorted(
    path.stem
    for path in (ROOT / "configs").glob("*.py")
    if path.stem not in ("__init__", "sections")
)


def _variants(recipe):
    """All variants that a recipe knows, from the error that lists them."""
    try:
        _config(recipe, "?")
    except ValueError as error:
        return re.findall(r"'([^']*)'", str(error).partition("know: ")[2])


def _config(recipe, variant):
    return importlib.import_module(f"configs.{recipe}").get_config(variant)


ALL = [(recipe, variant) for recipe in RECIPES for variant in _variants(recipe)]
BERT_VOCABULARY = 30_522
CAPTION = "A man in a dark blue shirt, black jeans and white running shoes carries a backpack."


def _network(recipe, variant):
    """What two recipes share whose programs are the same, as text."""
    config = _config(recipe, variant)
    names = ("method", "image", "text", "model", "train", config.method)
    return json.dumps({name: config[name] for name in names}, default=lambda x: x.to_dict())


# The first variant of each different network.
TRACED = [
    (recipe, variant)
    for recipe, variant in ALL
    if variant
    == next(v for v in _variants(recipe) if _network(recipe, v) == _network(recipe, variant))
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A folder with as many tokens as BERT has."""
    folder = tmp_path_factory.mktemp("vocabulary")
    tokens = [*SPECIAL, *(f"token{i}" for i in range(BERT_VOCABULARY - len(SPECIAL)))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    return str(folder)


def _method(recipe, variant, vocabulary):
    config = _config(recipe, variant)
    config.text.tokenizer = vocabulary
    config.text.tagger = "lexicon"
    config.train.steps_per_epoch = 100
    config.data.people = 100
    module = importlib.import_module(f"jaxreid.methods.{config.method}")
    return config, module.make(config)


def _params(method):
    return jax.eval_shape(method.init, jax.random.key(0))


def _count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _kind(config, what):
    """The method's QUERIES or TRAINING, as `what` says."""
    module = importlib.import_module(f"jaxreid.methods.{config.method}")
    return getattr(module, what, "captions")


def _record(config, method, what):
    """A record of noughts, with a reference where `what`, QUERIES or TRAINING, are triplets."""
    said = Dialogue((), CAPTION) if _kind(config, what) == "dialogues" else CAPTION
    record = {"text": {name: rows[0] for name, rows in method.tokenize([said]).items()}}
    if _kind(config, what) == "triplets":
        record["reference"] = np.zeros((50, 40, 3), np.uint8)
    return record


def _shapes(example, size):
    """Shapes of a batch of examples."""
    return {
        name: jax.ShapeDtypeStruct((size, *np.shape(value)), np.asarray(value).dtype)
        for name, value in example.items()
    }


def _batch(config, method):
    """Shapes of a training batch, from one example."""
    record = _record(config, method, "TRAINING") | {
        "image": np.zeros((60, 30, 3), np.uint8),
        "person_id": np.int32(0),
        "image_id": np.int32(0),
    }
    example = method.transform(record, np.random.default_rng(0))
    return _shapes(example, config.train.batch_size)


def _stages(config):
    """Stages that are traced: the last has all losses, unless each trains parts of its own."""
    number = len(config.train.epochs)
    return range(number) if config.optim.trained else [number - 1]


def _trace_loss(config, method, stage):
    """Shapes of loss and metrics."""
    key, params = jax.random.key(0), _params(method)
    memory = jax.eval_shape(method.init_memory, key, params)
    step = jax.ShapeDtypeStruct((), np.int32)
    loss, (after, metrics) = jax.eval_shape(
        partial(method.loss, stage=stage), params, memory, _batch(config, method), key, step
    )
    assert after == memory
    return loss, metrics


def test_there_are_recipes():
    assert {"albef", "laip"} <= set(RECIPES)
    assert {"", "cuhk_pedes", "icfg_pedes", "rstpreid", "cuhk_pedes-384x128"} <= {v for _, v in ALL}
    assert {recipe for recipe, _ in TRACED} == set(RECIPES)


@pytest.mark.parametrize(("recipe", "variant"), ALL)
def test_recipe_passes_its_checks(recipe, variant):
    config = _config(recipe, variant)
    check(config, devices=1)
    assert config.method == recipe
    # A recipe is written into the folder of a run, and JSON has no word for infinity.
    json.dumps(json.loads(config.to_json_best_effort()), allow_nan=False)


@pytest.mark.parametrize(("recipe", "variant"), ALL)
def test_recipe_has_a_split_to_choose_checkpoints_by(recipe, variant):
    data = _config(recipe, variant).data
    if data.name == "synthpedes":
        return  # rendered with val
    module = importlib.import_module(f"jaxreid.data.{data.name}")
    # People are held out where there is no val, enough to rank them and few beside train.
    if hasattr(module, "LAYOUT"):
        counts = module.LAYOUT.counts
        limits = (0, 0) if "val" in counts else (100, counts["train"].people // 10)
    elif "train" in module.SPLITS:
        limits = (100, module.COUNTS["cpr_ids"] // 10)
    else:
        limits = (0, 0)  # only searched
    assert limits[0] <= data.val_people <= limits[1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_unknown_variant_names_the_known_ones(recipe):
    with pytest.raises(ValueError, match="unknown variant 'cuhk'; know: '', '") as error:
        _config(recipe, "cuhk")
    own = {"captions": "cuhk_pedes", "triplets": "itcpr", "dialogues": "chatpedes"}
    own = own[_kind(_config(recipe, ""), "QUERIES")]
    assert f"'{own}'" in str(error.value)


@pytest.mark.parametrize("recipe", RECIPES)
def test_header_of_a_recipe_names_paper_command_and_expected_score(recipe):
    header = importlib.import_module(f"configs.{recipe}").__doc__
    assert f"python -m jaxreid.main --config configs/{recipe}.py" in header
    published = {"captions": "Published on CUHK-PEDES", "triplets": "Published on ITCPR"}
    # The tables of DiaNA could not be had.
    published["dialogues"] = "The tables of the article could not be had"
    assert published[_kind(_config(recipe, ""), "QUERIES")] in header


@pytest.mark.parametrize(("recipe", "variant"), TRACED)
def test_init_and_loss_trace_at_full_size(recipe, variant, vocabulary):
    config, method = _method(recipe, variant, vocabulary)
    params = _params(method)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    assign_groups(params, tuple(Group(*group) for group in config.optim.groups))
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in config.optim.trained:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    for stage in _stages(config):
        loss, metrics = _trace_loss(config, method, stage)
        for name, value in {"loss": loss, **metrics}.items():
            assert (value.shape, value.dtype) == ((), np.float32), name


@pytest.mark.parametrize(("recipe", "variant"), TRACED)
def test_encoders_and_scores_trace_at_full_size(recipe, variant, vocabulary):
    config, method = _method(recipe, variant, vocabulary)
    params, size = _params(method), config.eval.batch_size
    gallery = _shapes(method.transform({"image": np.zeros((60, 30, 3), np.uint8)}, None), size)
    query = _shapes(method.transform(_record(config, method, "QUERIES"), None), size)
    images = jax.eval_shape(method.encode_image, params, gallery["image"])
    queries = jax.eval_shape(method.encode_query, params, query)
    width = config.model.embedding
    if recipe == "diana" and config.diana.inference == "both":
        width *= 1 + config.diana.attributes  # those of the refiner follow
    for features in (images, queries):
        assert features.embedding.shape == (size, width)
        assert features.embedding.dtype == np.float32
    scores = jax.eval_shape(method.similarity, queries, images)
    assert (scores.shape, scores.dtype) == ((size, size), np.float32)
    if method.match is not None:
        prepared = jax.eval_shape(method.match_image, params, images)
        matched = jax.eval_shape(method.match, params, queries, prepared)
        assert (matched.shape, matched.dtype) == ((size,), np.float32)


# ViT-B/16, BERT-base split 6 + 6 with cross attention, projections, match head, temperature.
@pytest.mark.parametrize("recipe", ["albef", "laip"])
@pytest.mark.parametrize(
    ("variant", "retrieval"),
    [("cuhk_pedes", 209_560_835), ("cuhk_pedes-384x128", 209_265_923)],
)
def test_paper_size(recipe, variant, retrieval, vocabulary):
    params = _params(_method(recipe, variant, vocabulary)[1])
    head = 768**2 + 768 + 2 * 768 + BERT_VOCABULARY  # its matrix is the word embedding
    assert _count({name: part for name, part in params.items() if name != "mlm"}) == retrieval
    assert _count(params) == retrieval + head


def test_laptop_network_has_a_few_million_parameters(vocabulary):
    for recipe in RECIPES:
        params = _params(_method(recipe, "", vocabulary)[1])
        leaves = jax.tree.leaves(params)
        # Its vocabulary has a tenth of these words.
        assert sum(leaf.size for leaf in leaves if BERT_VOCABULARY not in leaf.shape) < 3e6


def test_methods_read_every_field_of_their_inputs_network_and_losses(vocabulary):
    never = []
    for recipe in RECIPES:
        with recorded_reads() as reads:
            config, method = _method(recipe, "", vocabulary)
            for stage in _stages(config):
                _trace_loss(config, method, stage)
        names = unread(config, reads)
        never.append({name for name in names if name.split(".")[0] in ("image", "text", "model")})
        assert [name for name in names if name.startswith(f"{config.method}.")] == []
    assert set.intersection(*never) == {"text.vocabulary"}  # see test_run.py
