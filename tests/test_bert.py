"""BERT split as in ALBEF equals PyTorch's (tests/goldens/bert.npz, made by tools/goldens.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under

from jaxreid.models.bert import CrossEncoder, MLMHead, TextEncoder, image_keys

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "bert.npz"
SIZES = {"width": 32, "heads": 4, "mlp": 64}
TEXT = TextEncoder(vocabulary=41, depth=2, max_positions=20, **SIZES)
CROSS = CrossEncoder(depth=3, **SIZES)
HEAD = MLMHead(width=32, vocabulary=41)
TAP = (8, 4, 7)  # texts, heads, image tokens


def network() -> dict:
    """Shapes of the three trees."""
    tokens, states = np.zeros((1, 5), np.int32), np.zeros((1, 5, 32), np.float32)
    images = np.zeros((1, 7, 24), np.float32)
    return {
        "text": shapes(TEXT, tokens, tokens == 0),
        "cross": shapes(CROSS, states, tokens == 0, images),
        "mlm": shapes(HEAD, states, np.zeros((41, 32), np.float32)),
    }


def tree(golden, kind: str) -> dict:
    """Our three trees from ALBEF's names; `kind` is 'weight' or 'gradient'."""
    state = {
        f"text_encoder.{'' if name.startswith('cls.') else 'bert.'}{name}": value
        for name, value in under(golden, f"{kind}/").items()
    }
    return converted(state, "albef", network())


def forward(params, golden, image_tokens, tap=None, tap_layer=None):
    """Text states, fused states, weights of the tapped layer, MLM logits at the masked words."""
    tokens, mask, masked = (golden[f"input/{name}"] for name in ("tokens", "mask", "masked"))
    text = TEXT.apply({"params": params["text"]}, tokens, mask)
    fused, weights = CROSS.apply(
        {"params": params["cross"]}, text, mask, image_tokens, tap=tap, tap_layer=tap_layer
    )
    embedding = params["text"]["embeddings"]["word_embeddings"]["embedding"]
    words = fused[np.arange(len(masked)), masked]
    return text, fused, weights, HEAD.apply({"params": params["mlm"]}, words, embedding)


def probability(params, golden, tap, tap_layer):
    """f32[B] MLM probability of the true word, and the forward attention of [CLS]."""
    _, _, weights, logits = forward(
        params, golden, golden["input/image_tokens"], tap=tap, tap_layer=tap_layer
    )
    label = golden["input/label"]
    return jax.nn.softmax(logits)[np.arange(len(label)), label], weights


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def params(golden):
    return jax.tree.map(jnp.asarray, tree(golden, "weight"))


@pytest.fixture(scope="module")
def result(golden, params):
    """((scalar, (text, fused, logits, loss)), (gradients, gradient of the image tokens))."""

    def scalar(params, image_tokens):
        text, fused, _, logits = forward(params, golden, image_tokens)
        label = golden["input/label"]
        loss = -jax.nn.log_softmax(logits)[np.arange(len(label)), label].mean()
        return (fused * golden["input/probe"]).sum(-1).mean() + loss, (text, fused, logits, loss)

    step = jax.jit(jax.value_and_grad(scalar, argnums=(0, 1), has_aux=True))
    return step(params, golden["input/image_tokens"])


@pytest.fixture(scope="module")
def backward(golden, params):
    """By layer: probability, weights and gradient of the summed probability in the tap."""

    def total(tap, tap_layer):
        chance, weights = probability(params, golden, tap, tap_layer)
        return chance.sum(), (chance, weights)

    step = jax.jit(jax.value_and_grad(total, has_aux=True), static_argnums=1)
    return [step(jnp.zeros(TAP), layer) for layer in range(3)]


@pytest.mark.parametrize(("index", "name"), [(0, "text"), (1, "fused"), (2, "logits"), (3, "loss")])
def test_outputs_equal_pytorch(golden, result, index, name):
    np.testing.assert_allclose(result[0][1][index], golden[f"output/{name}"], rtol=0, atol=1e-5)


def test_gradients_of_all_parameters_equal_pytorch(golden, result):
    gradients, expected = result[1][0], tree(golden, "gradient")
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=0, atol=1e-5), gradients, expected
    )


def test_gradient_of_the_image_tokens_equals_pytorch(golden, result):
    expected = golden["gradient_of_input/image_tokens"]
    np.testing.assert_allclose(result[1][1], expected, rtol=0, atol=1e-5)


def test_init_makes_the_same_trees_and_shapes(golden, params):
    key = jax.random.key(0)
    tokens, mask, image_tokens = (
        golden[f"input/{name}"] for name in ("tokens", "mask", "image_tokens")
    )
    hidden = golden["output/text"]
    embedding = params["text"]["embeddings"]["word_embeddings"]["embedding"]
    made = {
        "text": jax.eval_shape(TEXT.init, key, tokens, mask),
        "cross": jax.eval_shape(CROSS.init, key, hidden, mask, image_tokens),
        "mlm": jax.eval_shape(HEAD.init, key, hidden[:, 0], embedding),
    }
    made = {name: tree["params"] for name, tree in made.items()}
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)


def test_weights_start_normal_with_deviation_002_and_biases_at_zero(golden):
    arrays = (golden[f"input/{name}"] for name in ("tokens", "mask"))
    made = jax.jit(TEXT.init)(jax.random.key(0), *arrays)["params"]
    for path, leaf in jax.tree.leaves_with_path(made):
        name = path[-1].key
        if name in ("kernel", "embedding"):
            assert 0.01 < leaf.std() < 0.03, path
        else:
            assert (leaf == (1.0 if name == "scale" else 0.0)).all(), path


def test_forward_attention_of_every_layer_equals_pytorch(golden, backward):
    weights = np.stack([aux[1] for (_, aux), _ in backward])
    np.testing.assert_allclose(weights, golden["output/forward_attention"], rtol=0, atol=1e-5)
    chance = backward[0][0][1][0]
    np.testing.assert_allclose(chance, golden["output/probability"], rtol=0, atol=1e-5)


def test_backward_attention_of_every_layer_equals_pytorch(golden, backward):
    gradient = np.stack([gradient for _, gradient in backward])
    np.testing.assert_allclose(gradient, golden["output/backward_attention"], rtol=0, atol=1e-5)


def test_backward_attention_is_zero_in_the_last_layer_only(backward):
    # Row 0 of the last layer reaches output row 0 alone, and no masked word is at row 0.
    assert (np.asarray(backward[2][1]) == 0.0).all()
    for layer in (0, 1):
        assert (np.abs(backward[layer][1]).max(axis=(1, 2)) > 1e-3).all()


def test_backward_attention_equals_central_differences(golden, params, backward):
    step = 2e-2
    chance = jax.jit(lambda tap: probability(params, golden, tap, tap_layer=1)[0].sum())
    for place in ((0, 0, 0), (0, 3, 2), (1, 2, 6), (2, 1, 4)):
        offset = jnp.zeros(TAP).at[place].set(step)
        difference = (chance(offset) - chance(-offset)) / (2 * step)
        np.testing.assert_allclose(backward[1][1][place], difference, rtol=0.02, atol=2e-5)


def test_padding_has_no_influence_on_words(golden, params):
    tokens, mask = golden["input/tokens"], golden["input/mask"]
    encode = jax.jit(lambda tokens: TEXT.apply({"params": params["text"]}, tokens, mask))
    changed = np.where(mask, tokens, 7)
    np.testing.assert_array_equal(encode(tokens)[mask], encode(changed)[mask])


def test_image_index_equals_repeating_the_images(golden, params):
    tokens, mask = golden["output/text"], golden["input/mask"]
    images, index = golden["input/image_tokens"], np.array([1, 1, 0, 2, 2, 2, 0, 1])
    variables = {"params": params["cross"]}
    indexed, _ = jax.jit(CROSS.apply)(variables, tokens, mask, images[:3], image_index=index)
    repeated, _ = jax.jit(CROSS.apply)(variables, tokens, mask, images[index])
    np.testing.assert_allclose(indexed, repeated, atol=1e-5)


def test_keys_and_values_made_once_an_image_equal_those_of_each_pair(golden, params):
    tokens, mask = golden["output/text"], golden["input/mask"]
    images, index = golden["input/image_tokens"], np.array([1, 1, 0, 2, 2, 2, 0, 1])
    variables = {"params": params["cross"]}
    pairs, _ = jax.jit(CROSS.apply)(variables, tokens, mask, images[index])
    once = jax.jit(image_keys, static_argnums=2)(params["cross"], images[:3], jnp.float32)
    assert [layer.key.shape for layer in once] == 3 * [(3, 7, 4, 8)]
    rows = jax.tree.map(lambda x: x[index], once)
    prepared, _ = jax.jit(CROSS.apply)(variables, tokens, mask, rows)
    np.testing.assert_allclose(prepared, pairs, rtol=0, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"each of the 3 layers needs its keys and values, got .* 2"
    ):
        CROSS.apply(variables, tokens, mask, rows[:2])


def test_first_only_equals_row_0_of_all_rows(golden, params):
    arrays = (golden["output/text"], golden["input/mask"], golden["input/image_tokens"])
    fuse = jax.jit(CROSS.apply, static_argnames=("first_only", "tap_layer"))
    # Tapped in the last layer, where row 0 is the only one left.
    alone, weights = fuse(
        {"params": params["cross"]}, *arrays, tap=jnp.zeros(TAP), tap_layer=2, first_only=True
    )
    assert alone.shape == (8, 1, 32)
    np.testing.assert_allclose(alone[:, 0], golden["output/fused"][:, 0], atol=1e-5)
    expected = golden["output/forward_attention"][2]
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-5)


def test_hidden_image_tokens_have_no_influence(golden, params):
    images = golden["input/image_tokens"]
    image_mask = np.arange(7)[None] < np.array([7, 3, 5, 1, 2, 6, 4, 7])[:, None]
    fuse = jax.jit(
        lambda images: CROSS.apply(
            {"params": params["cross"]},
            golden["output/text"],
            golden["input/mask"],
            images,
            image_mask=image_mask,
        )[0]
    )
    changed = np.where(image_mask[:, :, None], images, 5.0).astype(np.float32)
    np.testing.assert_array_equal(fuse(images), fuse(changed))


def test_dropout_acts_only_in_training_and_follows_its_key(golden, params):
    @jax.jit
    def encode(key):
        return TEXT.apply(
            {"params": params["text"]},
            golden["input/tokens"],
            golden["input/mask"],
            train=True,
            rngs={"dropout": key},
        )

    first = encode(jax.random.key(1))
    assert np.abs(first - golden["output/text"]).max() > 0.1
    np.testing.assert_array_equal(first, encode(jax.random.key(1)))
    assert (np.asarray(first) != encode(jax.random.key(2))).mean() > 0.9


def test_dropout_of_everything_leaves_the_residual_path(golden, params):
    def norms(x, params, names):
        for layer in sorted(params):
            for norm in (params[layer][f"{name}_norm"] for name in names):
                x = x - x.mean(axis=-1, keepdims=True)
                x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-12)
                x = x * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
        return x

    text, mask = golden["output/text"], golden["input/mask"]
    layers = {name: params["text"][name] for name in ("layer_0", "layer_1")}
    settings = {"train": True, "rngs": {"dropout": jax.random.key(0)}}

    def run(model, name, *inputs):
        return jax.jit(lambda params: model.apply({"params": params}, *inputs, **settings))(
            params[name]
        )

    encoded = run(TEXT.clone(dropout=1.0), "text", golden["input/tokens"], mask)
    expected = norms(np.zeros_like(text), layers, ("attention", "mlp"))
    np.testing.assert_allclose(encoded, expected, atol=1e-5)
    images = golden["input/image_tokens"]
    fused, _ = run(CROSS.clone(dropout=1.0), "cross", text, mask, images)
    expected = norms(text, params["cross"], ("attention", "crossattention", "mlp"))
    np.testing.assert_allclose(fused, expected, atol=1e-5)


def test_bfloat16_is_close_with_float32_logits(golden, params):
    tokens, mask, masked, images = (
        golden[f"input/{name}"] for name in ("tokens", "mask", "masked", "image_tokens")
    )
    half = {"dtype": jnp.bfloat16}

    @jax.jit
    def run(params):
        text = TEXT.clone(**half).apply({"params": params["text"]}, tokens, mask)
        fused, weights = CROSS.clone(**half).apply(
            {"params": params["cross"]},
            text,
            mask,
            images,
            tap=jnp.zeros(TAP),
            tap_layer=0,
        )
        embedding = params["text"]["embeddings"]["word_embeddings"]["embedding"]
        words = fused[np.arange(8), masked]
        return (
            fused,
            weights,
            HEAD.clone(**half).apply({"params": params["mlm"]}, words, embedding),
        )

    fused, weights, logits = run(params)
    dtypes = (fused.dtype, weights.dtype, logits.dtype)
    assert dtypes == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(logits, golden["output/logits"], atol=0.3)
    error = np.abs(np.asarray(fused, np.float32) - golden["output/fused"])
    assert 0 < error.mean() < 0.02


def test_no_token_types_makes_no_table():
    model = TEXT.clone(token_types=0)
    tokens = jnp.zeros((1, 3), int)
    made = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens == 0)["params"]
    assert set(made["embeddings"]) == {"word_embeddings", "position_embeddings", "norm"}


def test_wrong_arguments_are_named(golden):
    key, tokens = jax.random.key(0), jnp.zeros((2, 21), int)
    with pytest.raises(ValueError, match="max_positions = 20 tokens, got 21"):
        jax.eval_shape(TEXT.init, key, tokens, tokens == 0)
    with pytest.raises(ValueError, match=r"both be \[B, L\]"):
        jax.eval_shape(TEXT.init, key, tokens, tokens[:, :3] == 0)
    hidden, mask, images = jnp.zeros((2, 3, 32)), jnp.ones((2, 3), bool), jnp.zeros((2, 7, 24))
    for changed, message in (
        ({"tap": jnp.zeros((2, 4, 7))}, "tap and tap_layer"),
        ({"tap": jnp.zeros((2, 4, 7)), "tap_layer": 3}, r"in 0\.\.2, got 3"),
        ({"image_index": jnp.zeros(3, int)}, "2 texts need as many images, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda changed=changed: CROSS.init(key, hidden, mask, images, **changed))
    with pytest.raises(ValueError, match=r"hidden must be \[B, L, 32\]"):
        jax.eval_shape(CROSS.init, key, hidden[..., :8], mask, images)
    with pytest.raises(ValueError, match="embedding"):
        jax.eval_shape(HEAD.init, key, hidden, jnp.zeros((40, 32)))
