"""Multi-head attention with weights that can be read and differentiated (LAIP, Eqs. 2-6)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

# Added to the logit of a hidden key, as in BERT: finite, so a row without keys gives no NaN.
_HIDDEN = -10000.0


class KeyValue(NamedTuple):
    """What an attention reads of its context, projected; see `key_value`."""

    key: jax.Array  # [B, S, H, d]
    value: jax.Array  # [B, S, H, d]


def key_value(params: Any, context: jax.Array, dtype: Dtype) -> KeyValue:
    """Returns the keys and values that an `Attention` makes of its context.

    They can be given in place of the context, so that one image that is compared with many texts
    is projected once.

    Args:
      params: of an `Attention`.
      context: [B, S, Dc].
      dtype: of the computation.
    """
    shape = params["key"]["kernel"].shape[1:]  # [H, d]
    project = nn.DenseGeneral(shape, dtype=dtype)
    return KeyValue(*(project.apply({"params": params[n]}, context) for n in KeyValue._fields))


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    tap: jax.Array | None = None,
    dropout: float = 0.0,
    dropout_rng: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns softmax(Q K^T / sqrt(d) + mask) V and the weights.

    Let A be the softmax weights [B, H, L, S]. With `tap`, a zero array, row 0 ([CLS]) uses
    A[:, :, 0] + tap, so the gradient with respect to `tap` is the derivative of the output with
    respect to these weights, which LAIP calls backward attention. As O_0 = sum_j A_0j V_j is
    linear in A, sum_j tap_j V_j is added to O_0 instead: A itself stays untouched.

    Args:
      query: [B, L, H, d].
      key: [B, S, H, d].
      value: [B, S, H, d].
      mask: bool[B, S], or bool[B, L, S] where queries see different keys; True = attend. None
        attends to all. A query with no key left attends to all keys.
      tap: f32[B, H, S] added to the weights of query row 0 after softmax and dropout.
      dropout: probability in [0, 1) of dropping a weight.
      dropout_rng: key; None means no dropout.

    Returns:
      [B, L, H, d] in the dtype of `value`; A before dropout and without tap, f32[B, H, L, S],
      each row sums to 1.

    Raises:
      ValueError: the shape of `mask` or `tap` does not fit.
    """
    B, L, H, d = query.shape
    S = key.shape[1]
    if mask is not None and mask.shape not in ((B, S), (B, L, S)):
        raise ValueError(f"mask must be {(B, S)} or {(B, L, S)}, got {mask.shape}")
    if tap is not None and tap.shape != (B, H, S):
        raise ValueError(f"tap must be {(B, H, S)}, got {tap.shape}")

    logits = jnp.einsum("blhd,bshd->bhls", query, key, preferred_element_type=jnp.float32)
    logits = logits / jnp.sqrt(jnp.float32(d))
    if mask is not None:
        keep = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None, :, :]
        logits = logits + jnp.where(keep, 0.0, _HIDDEN)
    weights = jax.nn.softmax(logits, axis=-1)  # f32[B, H, L, S]

    kept = weights
    if dropout_rng is not None and dropout > 0.0:
        survives = jax.random.bernoulli(dropout_rng, 1.0 - dropout, weights.shape)
        kept = jnp.where(survives, weights / (1.0 - dropout), 0.0)
    output = jnp.einsum("bhls,bshd->blhd", kept.astype(value.dtype), value)
    if tap is not None:
        offset = jnp.einsum("bhs,bshd->bhd", tap, value.astype(jnp.float32))
        output = output.at[:, 0].add(offset.astype(output.dtype))
    return output, weights


class Attention(nn.Module):
    """Projects to queries, keys and values, attends, projects back.

    Parameters: query, key, value with kernel [D, H, d] and bias [H, d]; out with [H, d, D], [D].
    Where the collection `attention` is mutable, all weights f32[B, H, L, S] are kept in it under
    the name "weights": what pictures of attention are made of.
    """

    heads: int
    kernel_init: Initializer
    dropout: float = 0.0  # of attention weights
    dtype: Dtype = jnp.float32
    out_init: Initializer | None = None  # of `out`; None: as the others

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        context: jax.Array | KeyValue,
        mask: jax.Array | None = None,
        *,
        context_index: jax.Array | None = None,
        tap: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns [B, L, D] and, with `tap`, the weights f32[B, H, S] of row 0 (see `attend`).

        Args:
          x: [B, L, D], gives the queries.
          context: [B, S, Dc], gives keys and values; `x` itself for self-attention. Or the keys
            and values themselves, from `key_value`.
          mask: bool[B, S] or bool[B, L, S], True = attend.
          context_index: i32[B]; row b of `x` attends to row context_index[b] of `context`, which
            may then have any number of rows: keys and values are computed once a context row.
          tap: f32[B, H, S], see `attend`.
          train: True drops weights with the rng stream 'dropout'.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"width must be divisible by heads = {self.heads}, got {width}")
        shape = (self.heads, width // self.heads)

        def project(name: str, inputs: jax.Array) -> jax.Array:
            dense = nn.DenseGeneral(
                shape, dtype=self.dtype, kernel_init=self.kernel_init, name=name
            )
            return dense(inputs)

        query = project("query", x)
        if isinstance(context, KeyValue):
            key, value = context
        else:
            key, value = project("key", context), project("value", context)
        if context_index is not None:
            key, value = key[context_index], value[context_index]
        drops = train and self.dropout > 0.0
        output, weights = attend(
            query,
            key,
            value,
            mask,
            tap=tap,
            dropout=self.dropout,
            dropout_rng=self.make_rng("dropout") if drops else None,
        )
        if not self.is_initializing():
            self.sow("attention", "weights", weights)
        init = self.out_init or self.kernel_init
        out = nn.DenseGeneral(width, axis=(-2, -1), dtype=self.dtype, kernel_init=init, name="out")
        return out(output), None if tap is None else weights[:, :, 0]


def patch_maps(kept: Any, name: str) -> jax.Array:
    """Returns the mean over heads of kept weights, without key 0 ([CLS]): f32[layers, B, L, S - 1].

    Args:
      kept: collection `attention` of a module, see `Attention`.
      name: of the attentions to return, of layer_0, layer_1, ..; layers that lack it are left out.
    """
    layers = (kept.get(f"layer_{i}", {}) for i in range(len(kept)))
    weights = [layer[name]["weights"][0] for layer in layers if name in layer]
    return jnp.stack(weights).mean(axis=2)[..., 1:]


def exact_gelu(x: jax.Array) -> jax.Array:
    """Returns x Phi(x), Phi by the error function: the activation of BERT and timm's ViT."""
    return nn.gelu(x, approximate=False)


class Mlp(nn.Module):
    """Two dense layers, fc1 and fc2, with an activation between them."""

    hidden: int
    kernel_init: Initializer
    dtype: Dtype = jnp.float32
    activation: Callable[[jax.Array], jax.Array] = exact_gelu
    out_init: Initializer | None = None  # of fc2; None: as fc1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., D]."""
        init = self.out_init or self.kernel_init
        widen = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=self.kernel_init, name="fc1")
        narrow = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=init, name="fc2")
        return narrow(self.activation(widen(x)))
