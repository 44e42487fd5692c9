"""Published sizes of the full models, by shape inference only: nothing is allocated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.models.bert import CrossEncoder, MLMHead, TextEncoder
from jaxreid.models.projection import Projection
from jaxreid.models.vit import ViT

KEY = jax.random.key(0)
HIDDEN = jax.ShapeDtypeStruct((1, 50, 768), jnp.float32)
MASK = jax.ShapeDtypeStruct((1, 50), bool)
TOKENS = jax.ShapeDtypeStruct((1, 50), jnp.int32)


def vit(height: int, width: int) -> tuple[ViT, jax.ShapeDtypeStruct]:
    return ViT((height, width)), jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)


def count(module, *inputs) -> int:
    """Number of parameters of a module."""
    params = jax.eval_shape(module.init, KEY, *inputs)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def retrieval(height: int, width: int) -> int:
    """Trainable parameters of ALBEF for retrieval: towers, projections, match head, temperature."""
    images = jax.ShapeDtypeStruct((1, 577, 768), jnp.float32)
    towers = count(*vit(height, width)) + count(TextEncoder(30522), TOKENS, MASK)
    fusion = count(CrossEncoder(), HIDDEN, MASK, images)
    heads = 2 * count(Projection(256), HIDDEN) + (768 * 2 + 2) + 1
    return towers + fusion + heads


def test_vit_b_16_without_its_classifier():
    assert count(*vit(224, 224)) == 86_567_656 - 769_000  # timm's count, less the 1000-class head
    assert count(*vit(384, 384)) == 86_859_496 - 769_000


def test_text_and_cross_encoder_make_bert_base_plus_six_cross_attentions():
    text = count(TextEncoder(30522), TOKENS, MASK)
    layer = 12 * 768**2 + 13 * 768
    assert text + 6 * layer == 109_482_240 - (768**2 + 768)  # BERT-base less its pooler
    cross = count(CrossEncoder(), HIDDEN, MASK, HIDDEN)
    assert cross == 6 * (layer + 4 * (768**2 + 768) + 2 * 768)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [((224, 224), 209_268_995), ((384, 128), 209_265_923), ((384, 384), 209_560_835)],
)
def test_albef_for_retrieval(size, parameters):
    assert retrieval(*size) == parameters


def test_the_mlm_head_adds_a_dense_layer_a_norm_and_a_bias():
    embedding = jax.ShapeDtypeStruct((30522, 768), jnp.float32)
    head = count(MLMHead(768, 30522), HIDDEN, embedding)
    assert head == 768**2 + 768 + 2 * 768 + 30522
    assert np.round((retrieval(224, 224) + head) / 1e6, 2) == 209.89


def test_full_size_outputs_have_the_documented_shapes():
    model, images = vit(384, 128)
    variables = jax.eval_shape(model.init, KEY, images)
    tokens = jax.eval_shape(model.apply, variables, images)
    assert (tokens.shape, tokens.dtype) == ((1, 193, 768), jnp.float32)
    fuse = CrossEncoder(dtype=jnp.bfloat16)
    variables = jax.eval_shape(fuse.init, KEY, HIDDEN, MASK, tokens)
    tap = jax.ShapeDtypeStruct((1, 12, 193), jnp.float32)
    fused, weights = jax.eval_shape(
        lambda variables, tap: fuse.apply(
            variables,
            jnp.zeros(HIDDEN.shape),
            jnp.ones(MASK.shape, bool),
            jnp.zeros(tokens.shape),
            tap=tap,
            tap_layer=2,
        ),
        variables,
        tap,
    )
    assert (fused.shape, fused.dtype) == ((1, 50, 768), jnp.bfloat16)
    assert (weights.shape, weights.dtype) == ((1, 12, 193), jnp.float32)
