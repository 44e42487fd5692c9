"""CLIP's towers equal transformers' CLIPModel (tests/goldens/clip.npz, tools/goldens_clip.py)."""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under
from tiny import QUICK, random_values, recipe

from configs import clip as recipes
from jaxreid.data.bpe import train_bpe
from jaxreid.methods import clip
from jaxreid.models.clip import Clip, ImageTower, TextTower, end_position

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "clip.npz"
SIZES = {"mlp": 64, "embedding": 24, "dropout": 0.0, "init_std": 0.02}


def tiny_clip(end_id: int, image_size=(48, 32)) -> Clip:
    return Clip(
        vit=ImageTower(
            image_size=image_size, patch=8, width=32, depth=2, heads=4, drop_path=0.0, **SIZES
        ),
        text=TextTower(vocabulary=41, max_positions=20, width=16, depth=2, heads=4, **SIZES),
        end_id=end_id,
    )


def tree(golden, kind: str) -> dict:
    """Our parameters from transformers' names; `kind` is 'weight' or 'gradient'."""
    images, tokens = golden["clip/input/images"], golden["clip/input/tokens"]
    network = shapes(tiny_clip(0), images, tokens)
    return converted(under(golden, f"clip/{kind}/"), "clip_hf", network, (6, 4))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def model(golden):
    return tiny_clip(int(golden["clip/end_id"]))


@pytest.fixture(scope="module")
def result(golden, model):
    """((scalar, (image tokens, text tokens)), gradients)."""

    def scalar(params):
        images, texts = model.apply(
            {"params": params}, golden["clip/input/images"], golden["clip/input/tokens"]
        )
        value = (images * golden["clip/input/image_probe"]).sum(-1).mean()
        value = value + (texts * golden["clip/input/text_probe"]).sum(-1).mean()
        return value, (images, texts)

    compiled = jax.jit(jax.value_and_grad(scalar, has_aux=True), compiler_options=QUICK)
    return compiled(tree(golden, "weight"))


def test_tokens_of_both_towers_equal_transformers(golden, result):
    for got, name in zip(result[0][1], ("image", "text"), strict=True):
        want = golden[f"clip/output/{name}_tokens"]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_gradients_of_all_parameters_equal_transformers(golden, result):
    expected = tree(golden, "gradient")
    assert jax.tree.structure(expected) == jax.tree.structure(result[1])
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=0, atol=1e-5), result[1], expected
    )


def test_text_feature_is_that_of_the_end_token(golden, model, result):
    got = model.apply({}, result[0][1][1], golden["clip/input/tokens"], method="pool_text")
    np.testing.assert_allclose(got, golden["clip/output/text"], rtol=0, atol=1e-5)


def test_image_feature_of_square_images_equals_transformers(golden):
    params = tree(golden, "weight")
    params["vit"]["positional_embedding"] = golden["clip/square/positions"]
    square = tiny_clip(0, (32, 32))
    tokens = square.apply({"params": params}, golden["clip/square/images"], method="image_tokens")
    got = square.apply({}, tokens, method="pool_image")
    np.testing.assert_allclose(got, golden["clip/square/image"], rtol=0, atol=1e-5)


def test_what_follows_the_end_token_changes_nothing(golden, model, result):
    tokens = np.array(golden["clip/input/tokens"])
    end = np.asarray(end_position(tokens, model.end_id))
    behind = np.arange(tokens.shape[1])[None] > end[:, None]
    other = np.where(behind, 7, tokens)
    assert (other != tokens).any()
    changed = model.apply({"params": tree(golden, "weight")}, other, method="text_tokens")
    want = model.apply({}, result[0][1][1], tokens, method="pool_text")
    got = model.apply({}, changed, other, method="pool_text")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_the_first_end_token_counts_and_a_larger_id_does_not():
    tokens = jnp.array([[5, 9, 11, 9, 0], [5, 1, 2, 9, 9]])
    assert end_position(tokens, 9).tolist() == [1, 3]


def test_vit_b_16_has_the_published_number_of_parameters():
    config = recipes.get_config("cuhk_pedes")
    m = config.model
    counts = {}
    for size in ((224, 224), tuple(config.image.size)):
        vit = {k: m.vit[k] for k in ("patch", "width", "depth", "heads", "mlp", "drop_path")}
        text = {k: m.bert[k] for k in ("max_positions", "width", "heads", "mlp")}
        shared = {"embedding": m.embedding, "dropout": 0.0, "init_std": 0.02}
        model = Clip(
            vit=ImageTower(image_size=size, **vit, **shared),
            text=TextTower(vocabulary=49_408, depth=m.bert.text_depth, **text, **shared),
            end_id=49_407,
        )
        arrays = jnp.zeros((1, *size, 3)), jnp.zeros((1, config.text.max_tokens), jnp.int32)
        params = jax.eval_shape(model.init, jax.random.key(0), *arrays)
        counts[size] = sum(leaf.size for leaf in jax.tree.leaves(params)) + 1  # logit_scale
    assert counts == {(224, 224): 149_620_737, (384, 128): 149_617_665}


def test_wrong_sizes_are_named(model):
    key = jax.random.key(0)
    run = partial(jax.eval_shape, model.init, key)
    with pytest.raises(ValueError, match=r"images must be \[B, 48, 32, 3\], got \(1, 32, 32, 3\)"):
        run(jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 9), jnp.int32))
    with pytest.raises(ValueError, match="at most max_positions = 20 tokens, got 21"):
        run(jnp.zeros((1, 48, 32, 3)), jnp.zeros((1, 21), jnp.int32))
    with pytest.raises(ValueError, match=r"multiple of patch = 8, got \(44, 32\)"):
        jax.eval_shape(
            tiny_clip(0, (44, 32)).init, key, jnp.zeros((1, 44, 32, 3)),
            jnp.zeros((1, 9), jnp.int32),
        )  # fmt: skip


# The method

CAPTIONS = ["A woman in a red shirt.", "A man with black hair.", "He wears a dark coat."]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    """make_config(**fields of the method) -> tiny config."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_bpe(CAPTIONS, 540, str(folder))

    def make(**fields):
        config = recipe(recipes.get_config)
        del config.clip.queue_length  # the tiny recipe gives it to every method
        config.text.tokenizer = str(folder)
        config.data.people = 3
        config.clip.update(fields)
        return config

    return make


def batch_of(method) -> dict:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, size=(3, 32, 16, 3)).astype(np.uint8)
    tokens = method.tokenize(CAPTIONS)["tokens"]
    return {"image": images, "tokens": tokens, "person_id": np.array([0, 1, 0], np.int32)}


@pytest.mark.parametrize("loss", clip.LOSSES)
def test_the_loss_is_the_sum_of_the_parts_that_its_name_says(make_config, loss):
    method = clip.make(make_config(loss=loss))
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    assert ("classifier" in shapes) == ("cmpc" in loss)
    params = random_values(shapes, 0)
    step = jax.jit(method.loss, static_argnums=5, compiler_options=QUICK)
    value, (_, metrics) = step(params, (), batch_of(method), jax.random.key(1), jnp.int32(0), 0)
    assert set(metrics) == {*loss.split("+"), "logit_scale"}
    parts = [metrics[name] for name in loss.split("+")]
    np.testing.assert_allclose(value, sum(parts), rtol=1e-6)
    assert np.isfinite(value)


def test_the_scale_starts_where_the_config_says_and_is_limited(make_config):
    method = clip.make(make_config(logit_scale=50.0, logit_scale_limit=60.0))
    start = jax.jit(lambda key: method.init(key)["logit_scale"])(jax.random.key(0))
    np.testing.assert_allclose(np.exp(start), 50.0, rtol=1e-5)
    params = random_values(jax.eval_shape(method.init, jax.random.key(0)), 0)
    batch = batch_of(method)
    scale = jax.jit(
        lambda log: method.loss(
            params | {"logit_scale": log}, (), batch, jax.random.key(1), jnp.int32(0), 0
        )[1][1]["logit_scale"]
    )
    np.testing.assert_allclose([scale(jnp.log(59.0)), scale(jnp.log(99.0))], [59, 60], rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loss", "infonce", "one of itc, sdm, cmpm, cmpc, cmpm[+]cmpc, got 'infonce'"),
        ("label_norm", "l0", "one of l1, l2, got 'l0'"),
        ("logit_scale", 0.0, "> 0, got 0.0"),
        ("logit_scale", 101.0, "at most clip.logit_scale_limit 100.0, got 101.0"),
        ("epsilon", -1e-8, "> 0, got -1e-08"),
    ],
)
def test_a_wrong_value_is_named_with_those_allowed(make_config, field, value, message):
    with pytest.raises(ValueError, match=f"^clip.{field} must be {message}"):
        clip.make(make_config(**{field: value}))
