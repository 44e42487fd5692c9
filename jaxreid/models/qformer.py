"""Q-Former of BLIP-2 (Li et al., ICML 2023): learned queries read an image, and words with it.

BERT in whose every second layer the queries cross-attend to image tokens. Queries and words share
the self-attention and have feed-forward nets of their own. The layer norm and dropout of the
embeddings act on the queries too, which have no positions.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from jaxreid.models.attention import Attention, KeyValue, Mlp

_LAYER_NORM_EPSILON = 1e-12  # as BERT


class QFormer(nn.Module):
    """Queries alone, or queries and words jointly, over the tokens of an image; or words alone.

    Parameters: query_tokens [1, queries, D], embeddings (see `QueryEmbeddings`), layer_0 ..
    layer_{depth-1} (see `QueryLayer`).
    """

    vocabulary: int
    queries: int = 32
    width: int = 768
    depth: int = 12
    cross_frequency: int = 2  # layers 0, cross_frequency, 2 cross_frequency, .. cross-attend
    heads: int = 12
    mlp: int = 3072
    max_positions: int = 512
    dropout: float = 0.1
    token_types: int = 0  # BLIP-2 has none; BERT has 2
    init_std: float = 0.02  # of normal start weights; see `vit.ViT`
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        image_tokens: jax.Array | tuple[KeyValue, ...] | None,
        tokens: jax.Array | None = None,
        mask: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Runs the layers.

        Args:
          image_tokens: [B, N, Dv], of any width; or what each cross-attention reads of them, from
            `bert.image_keys`. None for words alone, as BLIP-2 reads a text.
          tokens: i32[B, L], in [0, vocabulary), [CLS] first; None for queries alone.
          mask: bool[B, L], False on padding; given with `tokens` or not at all.
          train: True applies dropout with the rng stream 'dropout'.

        Returns:
          Queries [B, queries, D], or [B, 0, D] without an image, and words [B, L, D] or None, both
          in `dtype`; words at padding carry no meaning.

        Raises:
          ValueError: shapes disagree, or a size that cannot be.
        """
        self._check(image_tokens, tokens, mask)
        projected = isinstance(image_tokens, tuple)
        count = 0 if image_tokens is None else self.queries
        if image_tokens is None:
            rows = len(tokens)
        else:
            rows = len(image_tokens[0].key if projected else image_tokens)
        embeddings = QueryEmbeddings(
            self.vocabulary,
            self.width,
            self.max_positions,
            self.token_types,
            self.dropout,
            self.init_std,
            self.dtype,
            name="embeddings",
        )
        init = nn.initializers.normal(self.init_std)
        learned = self.param("query_tokens", init, (1, self.queries, self.width))
        learned = jnp.broadcast_to(learned[:, :count], (rows, count, self.width))
        queries, words = embeddings(learned, tokens, train=train)
        for i in range(self.depth):
            image = None
            if image_tokens is not None and i % self.cross_frequency == 0:
                image = image_tokens[i // self.cross_frequency] if projected else image_tokens
            layer = QueryLayer(
                self.heads, self.mlp, self.dropout, self.init_std, self.dtype, name=f"layer_{i}"
            )
            queries, words = layer(queries, words, mask, image, train=train)
        return queries, words

    def _check(self, image_tokens, tokens, mask) -> None:
        """Raises ValueError for shapes and sizes that cannot be."""
        if self.cross_frequency < 1:
            raise ValueError(f"cross_frequency must be >= 1, got {self.cross_frequency}")
        if (tokens is None) != (mask is None):
            raise ValueError("tokens and mask must both be given or both be None")
        if image_tokens is None:
            if tokens is None:
                raise ValueError("image_tokens, tokens or both must be given")
            rows = len(tokens)
        elif isinstance(image_tokens, tuple):
            crosses = -(-self.depth // self.cross_frequency)
            if len(image_tokens) != crosses:
                raise ValueError(
                    f"each of the {crosses} cross-attentions needs its keys and values, "
                    f"got those of {len(image_tokens)}"
                )
            rows = len(image_tokens[0].key)
        else:
            if image_tokens.ndim != 3:
                raise ValueError(f"image_tokens must be [B, N, Dv], got {image_tokens.shape}")
            rows = len(image_tokens)
        if tokens is None:
            return
        if tokens.ndim != 2 or mask.shape != tokens.shape:
            raise ValueError(
                f"tokens and mask must both be [B, L], got {tokens.shape} and {mask.shape}"
            )
        if len(tokens) != rows:
            raise ValueError(f"{len(tokens)} texts need as many images, got {rows}")


class QueryEmbeddings(nn.Module):
    """Layer norm of the learned queries, and of word + position + token type 0.

    Parameters: those of `bert.Embeddings`.
    """

    vocabulary: int
    width: int
    max_positions: int
    token_types: int
    dropout: float
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self, queries: jax.Array, tokens: jax.Array | None, *, train: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """Maps f32[B, queries, D] and i32[B, L] or None to what the first layer reads."""
        norm = _norm("norm")
        drop = nn.Dropout(self.dropout, deterministic=not train)

        def finish(x: jax.Array) -> jax.Array:
            return drop(norm(x).astype(self.dtype))

        if tokens is None:
            return finish(queries), None
        length = tokens.shape[1]
        if length > self.max_positions:
            raise ValueError(f"at most max_positions = {self.max_positions} tokens, got {length}")

        def table(rows: int, name: str) -> nn.Embed:
            init = nn.initializers.normal(self.init_std)
            return nn.Embed(rows, self.width, embedding_init=init, name=name)

        words = table(self.vocabulary, "word_embeddings")(tokens)
        words = words + table(self.max_positions, "position_embeddings")(jnp.arange(length)[None])
        if self.token_types:
            token_type = jnp.zeros((1, length), jnp.int32)
            words = words + table(self.token_types, "token_type_embeddings")(token_type)
        return finish(queries), finish(words)


class QueryLayer(nn.Module):
    """Post-norm layer: joint self-attention, cross-attention of the queries, two feed-forwards.

    Parameters: attention (query, key, value, out), attention_norm; crossattention (likewise),
    crossattention_norm, in layers that have it; mlp_query (fc1, fc2), mlp_query_norm of the
    queries; mlp, mlp_norm of the words. Each branch is norm(x + dropout(branch(x))).
    """

    heads: int
    mlp: int
    dropout: float
    init_std: float
    dtype: Dtype

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        words: jax.Array | None,
        mask: jax.Array | None,
        image_tokens: jax.Array | KeyValue | None,
        *,
        train: bool,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Returns queries and words after the layer, see `QFormer`; image_tokens None: no cross."""
        init = nn.initializers.normal(self.init_std)

        def add(hidden: jax.Array, branch: jax.Array, name: str) -> jax.Array:
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
            return _norm(name)(hidden + branch).astype(self.dtype)

        def attention(name: str) -> Attention:
            return Attention(self.heads, init, self.dropout, self.dtype, name=name)

        def feed_forward(hidden: jax.Array, name: str) -> jax.Array:
            return add(hidden, Mlp(self.mlp, init, self.dtype, name=name)(hidden), f"{name}_norm")

        count = queries.shape[1]
        hidden, seen = queries, None
        if words is not None:
            hidden = jnp.concatenate([queries, words], axis=1)
            seen = jnp.concatenate([jnp.ones((len(mask), count), bool), mask], axis=1)
        branch, _ = attention("attention")(hidden, hidden, seen, train=train)
        hidden = add(hidden, branch, "attention_norm")
        queries = hidden[:, :count]
        if image_tokens is not None:
            branch, _ = attention("crossattention")(queries, image_tokens, train=train)
            queries = add(queries, branch, "crossattention_norm")
        queries = feed_forward(queries, "mlp_query")
        if words is not None:
            words = feed_forward(hidden[:, count:], "mlp")
        return queries, words


def _norm(name: str) -> nn.LayerNorm:
    """Layer norm computed in float32, whatever the dtype of its input."""
    return nn.LayerNorm(
        epsilon=_LAYER_NORM_EPSILON, dtype=jnp.float32, use_fast_variance=False, name=name
    )
