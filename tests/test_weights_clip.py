"""Weights of CLIP, IRRA and Word4Per compute in our networks what they compute in theirs.

tests/goldens/clip_releases.npz has numbers alone, made by running the code of openai/CLIP@d05afc4
(clip/model.py), anosorae/IRRA@cfc2378 (model/build.py, clip_model.py, objectives.py) and
Delong-liu-bupt/Composed_Person_Retrieval@0cc1693 (old_project/model/build.py, word4per.py) at tiny
sizes in double precision, and the keys of their state_dicts. Those of clip_hf are of transformers'
CLIPModel, by tools/goldens_clip_hf.py; more of it is in test_clip.py, and more of Word4Per's
network for words in test_word4per.py.
"""

import functools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from configs import clip as clip_recipes
from configs import irra as irra_recipes
from configs import word4per as word4per_recipes
from jaxreid.losses.clip_itc import clip_itc
from jaxreid.losses.identity import identity_loss
from jaxreid.losses.masked_language import masked_language_loss
from jaxreid.losses.sdm import sdm_loss
from jaxreid.models.clip import Clip, ImageTower, TextTower
from jaxreid.models.interaction import Interaction, WordHead
from jaxreid.models.inversion import TINet
from jaxreid.models.projection import unit
from jaxreid.published import Source, fill
from jaxreid.streams.dual import init_clip, make_clip
from jaxreid.streams.relation import make_relation
from jaxreid.weights.convert import Target, published_shapes, to_ours, to_published
from jaxreid.weights.names import find
from jaxreid.weights.recognise import recognise
from jaxreid.weights.report import Resized
from tests.clip_state import (
    DEPTH,
    END,
    GRADIENTS,
    HIDDEN,
    LENGTH,
    PATCH,
    PEOPLE,
    SIZE,
    SQUARE,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    values,
)
from tests.converted import converted, shapes, target
from tests.tiny import QUICK

ROOT = pathlib.Path(__file__).parents[1]
SQUARE_GRID, GRID = (SQUARE // PATCH,) * 2, (SIZE[0] // PATCH, SIZE[1] // PATCH)
GRIDS = {"clip": SQUARE_GRID, "clip_hf": SQUARE_GRID, "irra": GRID}
WORD4PER = {"word4per": "text", "word4per_image": "image", "word4per_both": "text+image"}
KINDS = ("clip", "clip_hf", "irra", "word4per")
SIZES = {"input_resolution", "context_length", "vocab_size"}


def golden() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests" / "goldens" / "clip_releases.npz") as file:
        return dict(file)


GOLDEN = golden()


def listed(kind: str, size: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a release."""
    lines = (line.split() for line in GOLDEN[f"{kind}/{size}"].tolist())
    return {key: tuple(map(int, shape)) for key, *shape in lines}


def towers(image_size: tuple[int, int]) -> Clip:
    block = {"width": WIDTH, "heads": 2, "mlp": 4 * WIDTH, "embedding": WIDTH}
    same = {"dropout": 0.0, "init_std": 0.02, "dtype": jnp.float32}
    return Clip(
        vit=ImageTower(
            image_size=image_size, patch=PATCH, depth=VIT_DEPTH, drop_path=0.0, **block, **same
        ),
        text=TextTower(vocabulary=VOCABULARY, max_positions=LENGTH, depth=DEPTH, **block, **same),
        end_id=END,
    )


CROSS = Interaction(DEPTH, 2, 4 * WIDTH, jnp.float32)
WORDS = WordHead(VOCABULARY, DEPTH, jnp.float32)
CLASSIFIER = nn.Dense(PEOPLE)


@functools.cache
def network(kind: str) -> tuple[Clip, dict]:
    """The encoders of a tiny release and the shapes of all its parameters."""
    x = batch()
    if kind == "clip_hf":
        return network("clip")
    if kind == "clip":
        model = towers((SQUARE, SQUARE))
        found = shapes(model, x["square"], x["tokens"])
        return model, found | {"logit_scale": jax.ShapeDtypeStruct((), jnp.float32)}
    model, row = towers(SIZE), jnp.zeros((1, 1, WIDTH))
    heads = {"cross": shapes(CROSS, row, row), "mlm_head": shapes(WORDS, row)}
    heads["classifier"] = shapes(CLASSIFIER, row[0])
    return model, shapes(model, x["images"], x["tokens"]) | heads


def nets(*aims: str) -> dict:
    """Shapes of networks for words."""
    row = jnp.zeros((1, WIDTH))
    return {"inversion": {aim: shapes(TINet(HIDDEN, WIDTH, 0.0, jnp.float32), row) for aim in aims}}


def run_clip(model: Clip, params: dict) -> tuple:
    """Loss and outputs of CLIP."""
    x = batch()
    encoders = {"params": {name: params[name] for name in ("vit", "text")}}
    images, tokens = model.apply(encoders, x["square"], x["tokens"])
    image = unit(model.apply({}, images, method="pool_image"))
    text = unit(model.apply({}, tokens, x["tokens"], method="pool_text"))
    scale = jnp.exp(params["logit_scale"])
    loss = clip_itc(image, text, logit_scale=scale)
    return loss, {"image": image, "text": text, "logits": scale * image @ text.T, "loss": loss}


def run_irra(model: Clip, params: dict) -> tuple:
    """Losses and outputs of IRRA."""
    x = batch()
    encoders = {"params": {name: params[name] for name in ("vit", "text")}}
    texts = np.concatenate([x["tokens"], x["masked"]])  # each program compiles but once
    images, tokens = model.apply(encoders, x["images"], texts)
    tokens, masked = jnp.split(tokens, 2)
    image = model.apply({}, images, method="pool_image")
    text = model.apply({}, tokens, x["tokens"], method="pool_text")
    logits = [CLASSIFIER.apply({"params": params["classifier"]}, f) for f in (image, text)]
    hidden = CROSS.apply({"params": params["cross"]}, masked, images)
    scores = WORDS.apply({"params": params["mlm_head"]}, hidden)
    losses = {
        "sdm": sdm_loss(image, text, x["person_id"], logit_scale=50.0, epsilon=1e-8),
        "id": identity_loss(*logits, x["person_id"]),
        "mlm": masked_language_loss(scores, x["labels"], x["labels"] > 0),
    }
    loss = sum(losses.values())
    return loss, {**losses, "image": images, "text": tokens, "loss": loss}


def run_words(net: TINet, params: dict) -> tuple:
    """Words of images by Word4Per, and a loss."""
    image = jnp.asarray(GOLDEN["irra/image"][:, 0], jax.tree.leaves(params)[0].dtype)
    words = net.apply({"params": params["inversion"]["text"]}, image)
    loss = (words * image).mean()
    return loss, {"words": words, "loss": loss}


@functools.cache
def compiled(run, model):
    """Parameters -> (gradients, outputs)."""
    step = jax.grad(lambda params: run(model, params), has_aux=True)
    return jax.jit(step, compiler_options=QUICK)


def differences(kind: str, dtype=np.float32) -> dict[str, float]:
    """Largest differences of outputs and gradients, as shares of the largest values or of 1."""
    if kind == "word4per":
        model, made = TINet(HIDDEN, WIDTH, 0.0, jnp.float32), nets("text")
        run = run_words
    else:
        model, made = network(kind)
        run = run_irra if kind == "irra" else run_clip
    params = converted(values(listed(kind, "tiny")), kind, made, GRIDS.get(kind), dtype)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, made)
    gradient, found = compiled(run, model)(params)
    flat = {name: np.asarray(x) for name, x in flatten_dict(gradient, sep="/").items()}
    theirs, _ = to_published(flat, find(kind))
    found |= {f"gradient/{key}": theirs[key] for key in GRADIENTS[kind]}
    wanted = {k.removeprefix(f"{kind}/"): v for k, v in GOLDEN.items() if k.startswith(f"{kind}/")}
    assert set(found) == set(wanted) - {"full", "tiny"}
    return {
        name: float(np.abs(x - wanted[name]).max() / max(np.abs(wanted[name]).max(), 1))
        for name, x in found.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_computes_the_same_here(kind):
    for name, difference in differences(kind).items():
        assert difference < 1e-5, name


@pytest.mark.parametrize("kind", GRIDS)
def test_our_parameters_become_the_published_file_again(kind):
    _, made = network(kind)
    state = values(listed(kind, "tiny"))
    arrays, report = to_ours(state, find(kind), target(made, GRIDS[kind]), source="x.pth")
    assert not report.unused
    assert not report.fresh
    assert not report.resized
    again, left = to_published(arrays, find(kind))
    assert left == ()
    assert set(again) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)


def test_positions_of_clip_are_interpolated_as_irra_does():
    _, made = network("irra")
    state = values(listed("clip", "tiny")) | {name: np.array(7) for name in SIZES}
    half = {key: value.astype(np.float16) for key, value in state.items()}
    del half["logit_scale"]
    arrays, report = to_ours(state, find("clip"), target(made, GRIDS["irra"]), source="x.pt")
    got = arrays["vit/positional_embedding"]
    np.testing.assert_allclose(got, GOLDEN["positions"], rtol=0, atol=1e-6)
    assert report.resized == (Resized("vit/positional_embedding", (4, 4), (4, 2), "bilinear"),)
    assert set(report.unused) == SIZES | {"logit_scale"}
    assert {name.split("/")[0] for name in report.fresh} == {"cross", "mlm_head", "classifier"}
    arrays, _ = to_ours(half, find("clip"), target(made, GRIDS["irra"]), source="x.pt")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


# Full size


def full(config, vocabulary: int, image_size=None) -> dict:
    """Shapes of the parameters of a recipe, whose vocabulary is CLIP's, maybe with a mask."""
    if image_size:
        config.image.size = image_size
    config.data.people = 11_003
    captions = types.SimpleNamespace(vocabulary=vocabulary, end_id=49_407, mask_id=49_405)
    model = make_clip(config, vocabulary, captions.end_id)

    def init(keys):
        rng, heads, *rest = keys
        params = init_clip(model, rng, max_tokens=config.text.max_tokens)
        if config.method == "clip":
            return params | {"logit_scale": jnp.float32(0)}
        section = config[config.method]
        params |= make_relation(config, section, model, captions).init(heads)
        if config.method == "word4per":
            net = TINet(section.hidden, config.model.bert.width, section.dropout)
            row = jnp.zeros((1, config.model.embedding))
            aims = zip(section.inversions, rest, strict=False)
            params["inversion"] = {aim: net.init(key, row)["params"] for aim, key in aims}
        return params

    return jax.eval_shape(init, list(jax.random.split(jax.random.key(0), 5)))


@pytest.mark.parametrize(("kind", "count"), [("clip", 305), ("clip_hf", 400)])
def test_names_and_shapes_of_clip_are_those_of_the_release(kind, count):
    want = listed(kind, "full")
    assert len(want) == count
    for name in (
        *SIZES,
        "text_model.embeddings.position_ids",
        "vision_model.embeddings.position_ids",
    ):
        want.pop(name, None)
    made = full(clip_recipes.get_config("cuhk_pedes"), 49_408, (224, 224))
    assert published_shapes(target(made).shapes, find(kind)) == want


def test_names_and_shapes_of_irra_and_word4per_are_those_of_the_release():
    want = listed("irra", "full")
    assert len(want) == 367
    made = full(irra_recipes.get_config("cuhk_pedes"), 49_408)
    assert published_shapes(target(made).shapes, find("irra")) == want
    want = listed("word4per", "full")
    assert len(want) == 373
    config = word4per_recipes.get_config("itcpr")
    config.word4per.inversions = tuple(WORD4PER.values())
    made = full(config, 49_408)
    for kind, aim in WORD4PER.items():
        one = made | {"inversion": {aim: made["inversion"][aim]}}
        assert published_shapes(target(one).shapes, find(kind)) == want


@pytest.mark.parametrize("kind", ["clip", "clip_hf", "irra", "word4per"])
def test_a_release_is_recognised_by_its_keys(kind):
    assert recognise(listed(kind, "full")).name == kind


def blanks(kind: str) -> dict[str, np.ndarray]:
    """A state_dict of the size of a release, which takes no memory."""
    state = {}
    for key, shape in listed(kind, "full").items():
        if key.endswith("position_ids"):
            state[key] = np.arange(shape[1])[None]
        else:
            state[key] = np.broadcast_to(np.float32(0), shape)
    return state


@pytest.fixture(scope="module")
def full_irra():
    """With a mask of its own."""
    return target(full(irra_recipes.get_config("cuhk_pedes"), 49_409), (24, 8))


@pytest.mark.parametrize("kind", ["clip", "clip_hf"])
def test_irra_starts_from_clip_at_full_size(kind, full_irra):
    made = full_irra
    towers = {name for name in made.shapes if name.startswith(("vit/", "text/"))}
    _, report = to_ours(blanks(kind), find(kind), made, source="x.pt", wanted=towers)
    assert set(report.filled) == towers
    assert report.resized == (Resized("vit/positional_embedding", (14, 14), (24, 8), "bilinear"),)
    assert report.rows == (("text/token_embedding/embedding", 49_408, 49_409),)
    own = {"clip": SIZES, "clip_hf": {"vision_model.embeddings.position_ids"}}[kind]
    assert set(report.unused) == own | {"logit_scale"}


# What files of Word4Per hold


def word4per_network(*aims: str) -> Target:
    """Shapes of a tiny Word4Per with networks for words."""
    return target(network("irra")[1] | nets(*aims), GRIDS["irra"])


def word4per_state() -> dict[str, np.ndarray]:
    return values(listed("irra", "tiny") | listed("word4per", "tiny"))


@pytest.mark.parametrize("kind", WORD4PER)
def test_a_network_for_words_goes_to_its_aim_and_back(kind):
    made, state = word4per_network(*WORD4PER.values()), word4per_state()
    arrays, report = to_ours(state, find(kind), made, source="x.pth")
    ours = f"inversion/{WORD4PER[kind]}"
    np.testing.assert_array_equal(
        arrays[f"{ours}/fc2/kernel"], state["img2text.layers.1.0.weight"].T
    )
    others = set(WORD4PER.values()) - {WORD4PER[kind]}
    assert {name.split("/")[1] for name in report.fresh} == others
    again, _ = to_published(arrays, find(kind))
    assert set(again) == set(state)
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_two_files_give_the_networks_of_a_fused_query():
    state, made = word4per_state(), word4per_network("text", "image")
    other = {key: value + 1 for key, value in state.items()}
    sources = (
        Source("text.pth", find("word4per"), state),
        Source("image.pth", find("word4per_image"), other),
    )
    filled = fill(sources, made.shapes, made.grid)
    assert filled.fresh == ()
    for name, theirs in (("text", state), ("image", other)):
        got = filled.arrays[f"inversion/{name}/out/bias"]
        np.testing.assert_array_equal(got, theirs["img2text.fc_out.bias"])
    words = filled.arrays["text/ln_final/bias"]
    np.testing.assert_array_equal(words, state["base_model.ln_final.bias"])


def test_the_scale_of_the_recipe_of_clip_is_not_that_of_the_file():
    rules = clip_recipes.get_config("cuhk_pedes").start_rules
    _, made = network("clip")
    source = Source("x.pt", find("clip"), values(listed("clip", "tiny")))
    shapes = target(made).shapes
    filled = fill((source,), shapes, GRIDS["clip"], tuple(rules.fresh), tuple(rules.unused))
    assert filled.fresh == ("logit_scale",)


def test_stage_one_of_word4per_has_no_network_for_words():
    state = {k: v for k, v in word4per_state().items() if not k.startswith("img2text.")}
    _, report = to_ours(state, find("word4per"), word4per_network("text"), source="x.pth")
    assert {name.split("/")[0] for name in report.fresh} == {"inversion"}
    _, report = to_ours(state, find("irra"), word4per_network("text"), source="x.pth")
    assert len(report.fresh) == 6


def test_a_run_of_irra_without_a_loss_lacks_its_heads():
    _, made = network("irra")
    state = values(listed("irra", "tiny"))
    heads = ("cross", "mlm_head", "ln_p")
    fewer = {key: value for key, value in state.items() if not key.startswith(heads)}
    _, report = to_ours(fewer, find("irra"), target(made, GRIDS["irra"]), source="x.pth")
    assert {name.split("/")[0] for name in report.fresh} == {"cross", "mlm_head"}
    del state["cross_attn.in_proj_weight"]
    with pytest.raises(ValueError, match=r"x\.pth: .* lacks cross_attn.in_proj_weight"):
        to_ours(state, find("irra"), target(made, GRIDS["irra"]), source="x.pth")
