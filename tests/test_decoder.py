"""CADA's decoder equals BLIP's text model (tests/goldens/decoder.npz, tools/goldens_cada.py)."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under

from jaxreid.losses.atp import group_matching_losses
from jaxreid.losses.masked_language import masked_language_loss
from jaxreid.models.bert import MLMHead, image_keys
from jaxreid.models.decoder import TextDecoder
from jaxreid.models.dual_association import DualAssociation
from jaxreid.models.vit import ViT
from jaxreid.streams.dual_network import Entry, match_logits

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "decoder.npz"
SIZES = {"vocabulary": 41, "width": 32, "depth": 2, "cross_depth": 2, "heads": 4, "mlp": 64}
DECODER = TextDecoder(max_positions=20, dropout=0.0, **SIZES)
CAUSAL = TextDecoder(max_positions=20, dropout=0.0, causal=True, **SIZES)
MODEL = DualAssociation(ViT((16, 16)), DECODER, MLMHead(32, 41), 16)
ENTRIES = {"words": Entry(None, 6, 5, "words"), "all": Entry(None, 6, 5, "all")}
TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def tree(golden, kind):
    """Our parameters; of BLIP's text model, its MLM head and the heads of CADA."""
    tokens, images = np.zeros((1, 5), np.int32), np.zeros((1, 7, 24), np.float32)
    states, table = np.zeros((1, 5, 32), np.float32), np.zeros((41, 32), np.float32)
    head = {"kernel": np.zeros((32, 2)), "bias": np.zeros(2)}
    network = {
        "text": shapes(DECODER, tokens, tokens == 0, images),
        "mlm": shapes(MLMHead(32, 41), states, table),
        "itm_head": head,
        "itm_local_head": head,
    }
    places = {"text": "text_encoder.", "cls": "text_decoder.cls."}
    state = {}
    for name, value in under(golden, f"{kind}/").items():
        part, _, rest = name.partition(".")
        state[places.get(part, f"{part}.") + rest] = value
    return converted(state, "cada", network)


@pytest.fixture(scope="module")
def params(golden):
    return jax.tree.map(jnp.asarray, tree(golden, "weight"))


@pytest.fixture(scope="module")
def result(golden, params):
    """((sum of the losses, outputs), (gradients of parameters and of the image tokens))."""
    inputs = {k.removeprefix("input/"): v for k, v in golden.items() if k.startswith("input/")}
    tokens, mask, match, masked = (inputs[n] for n in ("tokens", "mask", "match", "masked"))

    def total(params, image_tokens):
        text = {"params": params["text"]}
        out = {
            "text": DECODER.apply(text, tokens, mask),
            "fused": DECODER.apply(text, tokens, mask, image_tokens),
            "causal": CAUSAL.apply(text, tokens, mask, image_tokens),
        }
        losses = {}
        for form, entry in ENTRIES.items():
            logits, counted = match_logits(MODEL, entry, params, out["fused"], mask)
            losses[form] = group_matching_losses(logits, match, counted)
            out[f"groups_{form}"], out["first"] = logits[:, 1:], logits[:, 0]
            if form == "words":
                out["present"] = counted[:, 1:]
        out["atp"] = losses["words"].sum()
        out["released_atp"] = losses["all"][0] + losses["all"][1:].mean()
        hidden = MODEL.apply(
            {"params": params}, jnp.where(masked, 1, tokens), mask, image_tokens,
            method="decode_masked",
        )  # fmt: skip
        scores = MODEL.apply({"params": params}, hidden, method="predict_words")
        out["mam"] = masked_language_loss(scores, tokens, masked)
        return out["atp"] + out["released_atp"] + out["mam"], out | {"all_scores": scores}

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    return step(params, inputs["image_tokens"])


@pytest.mark.parametrize("name", ["text", "fused", "causal", "first", "groups_all", "present"])
def test_both_modes_and_matching_logits_equal_pytorch(golden, result, name):
    np.testing.assert_allclose(result[0][1][name], golden[f"output/{name}"], **TOLERANCE)


def test_means_over_words_equal_pytorch_where_a_group_has_a_word(golden, result):
    present = golden["output/present"]
    assert 0.3 < present.mean() < 0.9
    np.testing.assert_allclose(
        result[0][1]["groups_words"][present], golden["output/groups_words"][present], **TOLERANCE
    )


@pytest.mark.parametrize("name", ["atp", "released_atp", "mam"])
def test_losses_equal_pytorch(golden, result, name):
    np.testing.assert_allclose(result[0][1][name], golden[f"output/{name}"], **TOLERANCE)


def test_vocabulary_scores_at_masked_positions_equal_pytorch(golden, result):
    scores = result[0][1]["all_scores"][golden["input/masked"]]
    np.testing.assert_allclose(scores, golden["output/scores"], rtol=0, atol=2e-5)


def test_gradients_equal_pytorch(golden, result):
    gradients, of_image = result[1]
    expected = tree(golden, "gradient")
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, **TOLERANCE), gradients, expected)
    np.testing.assert_allclose(of_image, golden["gradient_of_input/image_tokens"], **TOLERANCE)


def test_keys_prepared_once_an_image_give_the_same(golden, params, result):
    image_tokens = jnp.asarray(golden["input/image_tokens"])
    index = np.array([3, 0, 1, 2, 4, 5, 6, 7])  # text 1 reads image 0, and so on
    keys = image_keys(params["text"], image_tokens[jnp.asarray(index)], jnp.float32)

    @jax.jit
    def first_of(tokens, mask):
        hidden = DECODER.apply({"params": params["text"]}, tokens, method="embed")
        return DECODER.apply(
            {"params": params["text"]}, hidden, mask, keys,
            image_index=jnp.asarray(np.argsort(index)), first_only=True, method="decode",
        )  # fmt: skip

    first = first_of(golden["input/tokens"], golden["input/mask"])
    assert first.shape == (8, 1, 32)
    np.testing.assert_allclose(first, result[0][1]["fused"][:, :1], **TOLERANCE)


def test_layers_below_cross_depth_have_no_cross_attention():
    shallow = TextDecoder(**{**SIZES, "depth": 3, "cross_depth": 2}, max_positions=20)
    tokens = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    image = jax.ShapeDtypeStruct((2, 4, 24), jnp.float32)
    shapes = jax.eval_shape(
        shallow.init, jax.random.key(0), tokens, jax.ShapeDtypeStruct((2, 5), bool), image
    )["params"]
    found = ["crossattention" in shapes[f"layer_{i}"] for i in range(3)]
    assert found == [False, True, True]


def test_text_mode_makes_no_cross_attention():
    shapes = jax.eval_shape(
        DECODER.init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((2, 5), jnp.int32),
        jax.ShapeDtypeStruct((2, 5), bool),
    )["params"]
    assert "crossattention" not in shapes["layer_0"]


@pytest.mark.parametrize(
    ("decoder", "tokens", "given", "message"),
    [
        (CAUSAL, 5, {"first_only": True}, "first_only must be False"),
        (DECODER, 4, {}, r"mask \[B, L\], got"),
        (DECODER, 5, {"image_tokens": (None,)}, "each of the 2 cross-attentions needs"),
    ],
)
def test_what_cannot_be_decoded_is_refused(decoder, tokens, given, message):
    hidden, mask = jnp.zeros((2, 5, 32)), jnp.ones((2, tokens), bool)
    with pytest.raises(ValueError, match=message):
        decoder.apply({"params": {}}, hidden, mask, method="decode", **given)


def test_cross_depth_beyond_the_layers_is_refused():
    with pytest.raises(ValueError, match=r"cross_depth must be in 0..depth 2, got 3"):
        TextDecoder(**{**SIZES, "cross_depth": 3}, max_positions=20).init(
            jax.random.key(0), jnp.zeros((1, 3), jnp.int32), jnp.ones((1, 3), bool)
        )
