"""The Q-Former equals that of FAFA's release, and can stand at BLIP-2's size.

tests/goldens/fafa_release.npz holds what the code of Delong-liu-bupt/Composed_Person_Retrieval at
commit 0cc1693 computes on tiny random weights: FAFA_SynCPR/src/lavis/models/blip2_models/Qformer.py
(BertModel) and blip2_fafa_cpr.py (the losses, see test_fafa.py).
"""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from fafa_names import fafa_tree

from jaxreid.models.bert import image_keys
from jaxreid.models.qformer import QFormer
from jaxreid.models.vit import ViT

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "fafa_release.npz"
SIZES = {"vocabulary": 41, "queries": 5, "width": 32, "depth": 3, "heads": 4, "mlp": 48}
MODEL = QFormer(max_positions=20, dropout=0.0, **SIZES)
TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def params(golden, inputs):
    made = jax.eval_shape(MODEL.init, jax.random.key(0), *inputs)["params"]
    names = {
        key.replace("/bert.", "/Qformer.bert."): x
        for key, x in golden.items()
        if key.startswith(("weight/bert.", "weight/query_tokens"))
    }
    return jax.tree.map(jnp.asarray, fafa_tree(names, "weight", {"qformer": made})["qformer"])


@pytest.fixture(scope="module")
def inputs(golden):
    return tuple(jnp.asarray(golden[f"input/{name}"]) for name in ("reference", "tokens", "mask"))


@pytest.fixture(scope="module")
def run(params):
    """Compiled: images, tokens and mask -> (queries, words)."""
    return jax.jit(lambda *x: MODEL.apply({"params": params}, *x), compiler_options=tiny.QUICK)


@pytest.fixture(scope="module")
def fused(run, inputs):
    return run(*inputs)


# Parity


def test_queries_and_words_equal_the_release(golden, fused):
    queries, words = fused
    expected, mask = golden["output/fusion"], golden["input/mask"]
    np.testing.assert_allclose(queries, expected[:, :5], **TOLERANCE)
    np.testing.assert_allclose(words[mask], expected[:, 5:][mask], **TOLERANCE)


def test_queries_alone_equal_the_release(golden, run):
    queries, words = run(jnp.asarray(golden["input/target"]))
    assert words is None
    np.testing.assert_allclose(queries, golden["output/target"], **TOLERANCE)


def test_init_makes_the_tree_of_the_release(params, inputs):
    made = jax.eval_shape(MODEL.init, jax.random.key(0), *inputs)["params"]
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)


# Who reads what


def test_projected_images_give_the_same_as_images(params, inputs, run, fused):
    reference, *text = inputs
    keys = image_keys(params, reference, jnp.float32)
    assert len(keys) == 2  # layers 0 and 2
    for whole, part in zip(fused, run(keys, *text), strict=True):
        np.testing.assert_allclose(part, whole, **TOLERANCE)


def test_padding_changes_nothing(inputs, run, fused):
    reference, tokens, mask = inputs
    queries, words = run(reference, jnp.where(mask, tokens, 7), mask)
    np.testing.assert_allclose(queries, fused[0], **TOLERANCE)
    np.testing.assert_allclose(np.asarray(words)[mask], np.asarray(fused[1])[mask], **TOLERANCE)


def test_words_see_the_image_by_the_queries_alone(params, inputs):
    """One layer: queries cross-attend, words do not; they see the image a layer later."""
    reference, tokens, mask = inputs

    @partial(jax.jit, compiler_options=tiny.QUICK)
    def change(first, second):
        outputs = {}
        for depth in (1, 2):
            model = QFormer(max_positions=20, dropout=0.0, **(SIZES | {"depth": depth}))
            pair = [model.apply({"params": params}, x, tokens, mask) for x in (first, second)]
            outputs[depth] = [jnp.abs(a - b).max() for a, b in zip(*pair, strict=True)]
        return outputs

    moved = change(reference, reference + 1.0)
    assert moved[1][0] > 0.1
    assert moved[1][1] == 0
    assert moved[2][1] > 0.01


def test_frequency_says_which_layers_cross_attend(inputs):
    for frequency, layers in ((1, {0, 1, 2, 3}), (2, {0, 2}), (3, {0, 3})):
        model = QFormer(cross_frequency=frequency, **(SIZES | {"depth": 4}))
        made = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
        assert {i for i in range(4) if "crossattention" in made[f"layer_{i}"]} == layers


def test_dropout_acts_on_queries_in_training_alone(params, golden):
    model = QFormer(max_positions=20, dropout=0.5, **SIZES)
    target = jnp.asarray(golden["input/target"])

    @partial(jax.jit, static_argnums=1, compiler_options=tiny.QUICK)
    def run(key, train):
        return model.apply({"params": params}, target, train=train, rngs={"dropout": key})[0]

    still, dropped = (run(jax.random.key(0), train) for train in (False, True))
    np.testing.assert_allclose(still, golden["output/target"], **TOLERANCE)
    assert np.abs(dropped - still).max() > 0.1


# Size


def test_full_size_has_the_parameters_of_blip_2():
    shapes = jax.eval_shape(
        QFormer(30_523).init,
        jax.random.key(0),
        jnp.zeros((1, 257, 1408)),
        jnp.zeros((1, 32), jnp.int32),
        jnp.ones((1, 32), bool),
    )["params"]
    d, mlp, image = 768, 3072, 1408
    attention = 4 * (d * d + d) + 2 * d
    feed_forward = 2 * d * mlp + mlp + d + 2 * d
    cross = 2 * (d * d + d) + 2 * (image * d + d) + 2 * d
    embeddings = (30_523 + 512) * d + 2 * d
    expected = 32 * d + embeddings + 12 * (attention + 2 * feed_forward) + 6 * cross
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected
    # What reads images alone: transformers' Blip2QFormerModel at its default size.
    words = embeddings + 12 * feed_forward
    assert expected - words - 32 * d + 2 * d == 105_137_664


def test_image_encoder_of_blip_2_is_a_vit_but_for_the_bias_of_keys():
    eva = ViT((224, 224), patch=14, width=1408, depth=39, heads=16, mlp=6144, norm_epsilon=1e-5)
    shapes = jax.eval_shape(eva.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    count = sum(x.size for x in jax.tree.leaves(shapes))
    d, mlp = 1408, 6144
    block = 4 * d + (3 * d * d + 2 * d) + (d * d + d) + (d * mlp + mlp) + (mlp * d + d)
    released = 14 * 14 * 3 * d + d + d + 257 * d + 39 * block
    assert released == 985_894_528
    assert count == released + 2 * d + 39 * d  # ln_vision; biases of keys


def test_bias_of_keys_changes_nothing():
    vit = ViT((8, 4), patch=4, width=8, depth=2, heads=2, mlp=12)
    images = jax.random.normal(jax.random.key(0), (2, 8, 4, 3))
    params = tiny.random_values(
        jax.eval_shape(vit.init, jax.random.key(1), images)["params"], seed=2
    )
    moved = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 3.0 if "key" in [k.key for k in path] and path[-1].key == "bias" else x,
        params,
    )
    run = jax.jit(lambda params: vit.apply({"params": params}, images), compiler_options=tiny.QUICK)
    np.testing.assert_allclose(run(moved), run(params), **TOLERANCE)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((jnp.zeros((2, 7, 24)), jnp.zeros((2, 9), int)), "tokens and mask must both be given"),
        ((jnp.zeros((2, 24)),), r"image_tokens must be \[B, N, Dv\], got \(2, 24\)"),
        (
            (jnp.zeros((2, 7, 24)), jnp.zeros((2, 9), int), jnp.ones((2, 8), bool)),
            r"both be \[B, L\], got \(2, 9\) and \(2, 8\)",
        ),
        (
            (jnp.zeros((3, 7, 24)), jnp.zeros((2, 9), int), jnp.ones((2, 9), bool)),
            "2 texts need as many images, got 3",
        ),
        (
            (jnp.zeros((2, 7, 24)), jnp.zeros((2, 21), int), jnp.ones((2, 21), bool)),
            "at most max_positions = 20 tokens, got 21",
        ),
    ],
)
def test_shapes_that_disagree_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MODEL.init(jax.random.key(0), *arguments)


def test_keys_of_too_few_layers_are_refused(params, inputs):
    keys = image_keys(params, inputs[0], jnp.float32)
    with pytest.raises(ValueError, match=r"2 cross-attentions needs its keys .* got .* 1"):
        MODEL.apply({"params": params}, keys[:1])


def test_frequency_below_one_is_refused(inputs):
    with pytest.raises(ValueError, match="cross_frequency must be >= 1, got 0"):
        QFormer(cross_frequency=0, **SIZES).init(jax.random.key(0), *inputs)
