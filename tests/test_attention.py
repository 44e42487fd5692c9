"""Attention: equal to JAX's own, blind to hidden keys, and differentiable in its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.models.attention import Attention, attend

B, L, S, H, D = 3, 4, 5, 2, 8
INIT = jax.nn.initializers.normal(0.3)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    query = rng.normal(size=(B, L, H, D)).astype(np.float32)
    key = rng.normal(size=(B, S, H, D)).astype(np.float32)
    value = rng.normal(size=(B, S, H, D)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 1, 1, 1, 0]], bool)
    return query, key, value, mask


def reference(query, key, value, keep):
    """Loop in float64; keep bool[B, L, S]."""
    output = np.zeros(query.shape)
    all_weights = np.zeros((B, H, L, S))
    for b, row, h in np.ndindex(B, L, H):
        logits = key[b, :, h].astype(np.float64) @ query[b, row, h] / np.sqrt(D)
        weights = np.where(keep[b, row], np.exp(logits), 0.0)
        weights /= weights.sum()
        output[b, row, h] = weights @ value[b, :, h]
        all_weights[b, h, row] = weights
    return output, all_weights


def test_output_and_weights_equal_the_loop(arrays):
    query, key, value, mask = arrays
    expected, all_weights = reference(query, key, value, np.repeat(mask[:, None], L, axis=1))
    output, weights = attend(query, key, value, mask, tap=jnp.zeros((B, H, S)))
    np.testing.assert_allclose(output, expected, atol=2e-6)
    np.testing.assert_allclose(weights, all_weights, atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    plain, same = attend(query, key, value, mask)
    np.testing.assert_array_equal(plain, output)
    np.testing.assert_array_equal(same, weights)


def test_a_module_keeps_all_weights_where_asked_and_returns_those_of_row_0_with_a_tap(arrays):
    mask = arrays[3]
    x, context = (np.random.default_rng(i).normal(size=(B, n, H * D)) for i, n in ((3, L), (4, S)))
    module = Attention(H, jax.nn.initializers.normal(0.5))
    variables = module.init(jax.random.key(0), x, context, mask)
    assert list(variables) == ["params"]
    output, none = module.apply(variables, x, context, mask)
    assert none is None
    (same, first), kept = module.apply(
        variables, x, context, mask, tap=jnp.zeros((B, H, S)), mutable=["attention"]
    )
    np.testing.assert_array_equal(same, output)
    (weights,) = kept["attention"]["weights"]
    assert weights.shape == (B, H, L, S)
    np.testing.assert_array_equal(weights[:, :, 0], first)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)


def test_a_mask_of_pairs_hides_keys_from_single_rows(arrays):
    query, key, value, _ = arrays
    keep = np.tri(L, S, dtype=bool)[None].repeat(B, axis=0)
    keep[1, 2] = [True, False, False, True, True]
    output, _ = attend(query, key, value, keep)
    np.testing.assert_allclose(output, reference(query, key, value, keep)[0], atol=2e-6)


def test_hidden_keys_and_values_have_no_influence(arrays):
    query, key, value, mask = arrays
    output, _ = attend(query, key, value, mask)
    hidden = ~mask[:, :, None, None]
    changed, _ = attend(query, np.where(hidden, 9.0, key), np.where(hidden, -9.0, value), mask)
    np.testing.assert_array_equal(output, changed)


def test_a_row_without_any_key_stays_finite_forward_and_backward(arrays):
    query, key, value, mask = arrays
    mask = mask & np.array([[True], [False], [True]])

    def total(query):
        return attend(query, key, value, mask)[0].sum()

    assert np.isfinite(attend(query, key, value, mask)[0]).all()
    assert np.isfinite(jax.grad(total)(query)).all()


def test_gradient_of_the_tap_is_the_derivative_in_the_weights_of_row_0(arrays):
    query, key, value, mask = arrays
    probe = np.random.default_rng(1).normal(size=(B, L, H, D)).astype(np.float32)

    def scalar(tap):
        return (probe * attend(query, key, value, mask, tap=tap)[0]).sum()

    gradient = jax.grad(scalar)(jnp.zeros((B, H, S)))
    np.testing.assert_allclose(
        gradient, np.einsum("bhd,bshd->bhs", probe[:, 0], value), rtol=1e-5, atol=1e-5
    )


def test_a_tap_moves_row_0_only_and_by_tap_times_values(arrays):
    query, key, value, mask = arrays
    tap = np.random.default_rng(2).normal(size=(B, H, S)).astype(np.float32)
    output, weights = attend(query, key, value, mask, tap=tap)
    plain, untouched = attend(query, key, value, mask, tap=jnp.zeros((B, H, S)))
    np.testing.assert_array_equal(weights, untouched)
    np.testing.assert_array_equal(output[:, 1:], plain[:, 1:])
    moved = np.einsum("bhs,bshd->bhd", tap, value)
    np.testing.assert_allclose(output[:, 0] - plain[:, 0], moved, atol=1e-5)


def test_dropout_scales_what_survives_and_leaves_returned_weights_alone(arrays):
    query, key, _, _ = arrays
    # Values that pick single weights out: output[.., d] = weight of key d.
    value = np.zeros((B, S, H, D), np.float32)
    value[:, np.arange(S), :, np.arange(S)] = 1.0
    whole, weights = attend(query, key, value, tap=jnp.zeros((B, H, S)))
    output, returned = attend(
        query,
        key,
        value,
        tap=jnp.zeros((B, H, S)),
        dropout=0.25,
        dropout_rng=jax.random.key(0),
    )
    np.testing.assert_array_equal(returned, weights)
    ratio = np.asarray(output[..., :S] / whole[..., :S])
    dropped = ratio == 0.0
    np.testing.assert_allclose(ratio[~dropped], 1 / 0.75, rtol=1e-5)
    assert 0.1 < dropped.mean() < 0.4
    np.testing.assert_array_equal(attend(query, key, value, dropout=0.25)[0], whole)


def test_softmax_stays_in_float32_for_bfloat16_inputs(arrays):
    query, key, value, mask = (jnp.asarray(x) for x in arrays)
    query, key, value = (x.astype(jnp.bfloat16) for x in (query, key, value))
    output, weights = attend(query, key, value, mask, tap=jnp.zeros((B, H, S)))
    assert (output.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)


def test_an_index_of_contexts_equals_repeating_the_contexts():
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(4, L, 16)), jnp.float32)
    context = jnp.asarray(rng.normal(size=(3, S, 6)), jnp.float32)
    index = jnp.array([2, 0, 2, 1])
    model = Attention(heads=H, kernel_init=INIT)
    params = model.init(jax.random.key(0), x, context[index])
    indexed, _ = model.apply(params, x, context, context_index=index)
    repeated, _ = model.apply(params, x, context[index])
    np.testing.assert_allclose(indexed, repeated, atol=1e-6)


def test_wrong_shapes_are_named(arrays):
    query, key, value, mask = arrays
    with pytest.raises(ValueError, match="mask must be"):
        attend(query, key, value, mask[:, :-1])
    with pytest.raises(ValueError, match="tap must be"):
        attend(query, key, value, mask, tap=jnp.zeros((B, H, L)))
    with pytest.raises(ValueError, match="divisible by heads = 3"):
        Attention(heads=3, kernel_init=INIT).init(
            jax.random.key(0), jnp.zeros((1, 2, 8)), jnp.zeros((1, 2, 8))
        )
