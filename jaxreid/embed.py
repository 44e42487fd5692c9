"""Encodes a data set over all devices into features in host memory."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxreid.mesh import fetch, put_batch, split_batch
from jaxreid.methods import Features, Params

TOKEN_DTYPES = ("bfloat16", "float32")


def embed(
    encode: Callable[[Params, Any], Features],
    params: Params,
    batches: Iterable[Any],
    count: int,
    mesh: Mesh,
    *,
    token_dtype: str,
    keep_tokens: bool,
) -> Features:
    """Returns the features of `count` items as numpy arrays, the same on every process.

    Args:
      encode: `Method.encode_image` or `Method.encode_query`.
      params: of the method, on every device of `mesh`.
      batches: what `encode` takes, numpy, all of one shape: axis 0 is this process's rows of a
        global batch. Rows past `count` in the order batch by batch, and inside a batch process
        by process, are padding and dropped.
      count: n, the number of items.
      mesh: the rows of a batch are split over its devices.
      token_dtype: one of `TOKEN_DTYPES`, of the tokens in host memory; bfloat16 halves them.
      keep_tokens: False where no score reads tokens or mask; both are then None.

    Returns:
      Features of embedding f32[n, E], tokens [n, N or L, D] or None, mask bool or None.

    Raises:
      ValueError: an unknown dtype, fewer rows than `count` or a batch too many, batches of
        different shapes, or features that need more memory than the machine has left.
    """
    if token_dtype not in TOKEN_DTYPES:
        raise ValueError(
            f"eval.token_dtype must be one of {', '.join(TOKEN_DTYPES)}, got {token_dtype!r}"
        )
    run = partial(
        _encode, encode=encode, mesh=mesh, token_dtype=token_dtype, keep_tokens=keep_tokens
    )
    features, shapes, done, pending = None, None, 0, None
    for batch in batches:
        if done >= count and features is not None:
            raise ValueError(f"batches must end with item {count}, got another batch")
        if shapes is None:
            shapes = jax.tree.map(np.shape, batch)
        elif jax.tree.map(np.shape, batch) != shapes:
            raise ValueError(
                f"all batches must have the shapes of the first, {shapes}, "
                f"got {jax.tree.map(np.shape, batch)}: pad the last one"
            )
        result = run(params, put_batch(mesh, batch))
        if features is None:
            features = _allocate(result, count, token_dtype)
        # The devices work on this batch while the one before is copied.
        if pending is not None:
            _copy(features, *pending)
        pending = (done, result)
        done += len(result.embedding)
    if done < count or pending is None:
        raise ValueError(f"batches must hold {count} items, got {done} rows")
    _copy(features, *pending)
    return features


def available_memory() -> int | None:
    """Returns the bytes of memory this process may still take, None where unknown."""
    found = []
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError):  # a container may hold less than the machine
        group = pathlib.Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Cached file pages count as used but are given back on demand.
            found.append(int(limit) - used + int(stat.get("inactive_file", 0)))
    return max(0, min(found)) if found else None


@partial(jax.jit, static_argnames=("encode", "mesh", "token_dtype", "keep_tokens"))
def _encode(params, batch, *, encode, mesh, token_dtype, keep_tokens):
    """Features of a global batch, split over the devices; tokens already in their dtype."""
    features = encode(params, batch)
    embedding = features.embedding.astype(jnp.float32)
    tokens = mask = None
    if keep_tokens and features.tokens is not None:
        tokens, mask = features.tokens.astype(token_dtype), features.mask
    return jax.lax.with_sharding_constraint(Features(embedding, tokens, mask), split_batch(mesh))


def _allocate(like: Features, count: int, token_dtype: str) -> Features:
    """Empty host arrays for `count` items, if they fit."""
    need = sum(count * x.nbytes // len(x) for x in jax.tree.leaves(like))
    free = available_memory()
    if free is not None and need > free:
        tokens = 0 if like.tokens is None else count * like.tokens.nbytes // len(like.tokens)
        raise ValueError(
            f"the features of {count} items take {need / 2**30:.1f} GiB of host memory, of which "
            f"tokens with eval.token_dtype {token_dtype} take {tokens / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free; eval.token_dtype may be {' or '.join(TOKEN_DTYPES)}"
        )
    return jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), like)


def _copy(features: Features, start: int, result: Features) -> None:
    """Copies the rows of one batch into place and drops its padding."""

    def put(whole, part):
        rows = fetch(part)
        whole[start : start + len(rows)] = rows[: len(whole) - start]

    jax.tree.map(put, features, result)
