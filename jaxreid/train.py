"""Train state and the one train step that all methods share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxreid.mesh import replicated, split_batch
from jaxreid.methods import Batch, Memory, Method, Metrics, Params

# After this many batches in a row with a loss or gradient that is not finite the state freezes.
NONFINITE_LIMIT = 3


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint holds; arrays only, no functions."""

    step: jax.Array  # i32[], batches seen
    params: Params
    memory: Memory  # the method's own; this file never looks inside
    opt_state: optax.OptState
    rng: jax.Array  # u32[2], key of the run; step t uses fold_in(rng, t): resuming repeats nothing
    nonfinite: jax.Array  # i32[], batches in a row that were skipped
    skipped: jax.Array  # i32[], batches of the run that were skipped


def init_state(
    method: Method,
    tx: optax.GradientTransformation,
    rng: jax.Array,
    start: Callable[[Params], Params] = lambda params: params,
) -> TrainState:
    """Returns the state before the first step; `start` replaces the parameters it has."""
    init_rng, memory_rng, loop_rng = jax.random.split(rng, 3)
    params = start(method.init(init_rng))
    memory = method.init_memory(memory_rng, params)
    zero = jnp.zeros((), jnp.int32)
    rng = jax.random.key_data(loop_rng)
    return TrainState(zero, params, memory, tx.init(params), rng, zero, zero)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    method: Method,
    tx: optax.GradientTransformation,
    stage: int,
) -> tuple[TrainState, Metrics]:
    """Takes one optimiser step on the global batch.

    Losses are written as if on one device: under jit over a mesh the B x B similarity of a batch
    split B/n per device is still the global one, and XLA inserts the gathers. A batch whose loss
    or gradient is not finite changes nothing but the counters; after NONFINITE_LIMIT of them in
    a row no later batch changes anything either, so that the host, which looks only now and then,
    finds the state as it was.
    """
    rng = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    (loss, (memory, metrics)), grads = jax.value_and_grad(method.loss, has_aux=True)(
        state.params, state.memory, batch, rng, state.step, stage
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    frozen = state.nonfinite >= NONFINITE_LIMIT
    taken = finite & ~frozen
    nonfinite = jnp.where(taken, 0, state.nonfinite + 1)
    skipped = jnp.where(taken, state.skipped, state.skipped + 1)

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(taken, n, o), new, old)

    new = TrainState(
        state.step + 1,
        keep(params, state.params),
        keep(memory, state.memory),
        keep(opt_state, state.opt_state),
        state.rng,
        nonfinite,
        skipped,
    )
    counts = {"nonfinite": nonfinite, "skipped": skipped}
    return new, {**metrics, "loss": loss, "grad_norm": norm, **counts}


def jit_train_step(
    method: Method, tx: optax.GradientTransformation, mesh: Mesh, stage: int
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns `train_step` for a mesh; the old state's buffers are reused (donated)."""
    return jax.jit(
        partial(train_step, method=method, tx=tx, stage=stage),
        donate_argnums=0,
        in_shardings=(replicated(mesh), split_batch(mesh)),
        out_shardings=replicated(mesh),
    )


def init_on_mesh(
    method: Method,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    start: Callable[[Params], Params] | None = None,
) -> TrainState:
    """Returns `init_state` on every device, without a copy on the host."""
    key = partial(jax.random.key, seed)
    if start is None:
        make = partial(init_state, method, tx)
        return jax.jit(make, out_shardings=replicated(mesh))(key())
    random = jax.jit(lambda rng: method.init(jax.random.split(rng, 3)[0]))(key())
    params = jax.device_put(start(random), replicated(mesh))
    make = partial(init_state, method, tx, start=lambda _: params)
    return jax.jit(make, out_shardings=replicated(mesh))(key())


def restart_optimizer(
    state: TrainState, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Returns the state with the optimiser as before its first step, for a new stage."""
    fresh = jax.jit(tx.init, out_shardings=replicated(mesh))(state.params)
    return state.replace(opt_state=fresh)
