"""Optimiser: AdamW or Adam, rates and decay by parameter name, and its learning-rate schedule."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PERIODS = ("step", "epoch")
KINDS = ("adamw", "adam")


class Schedule(NamedTuple):
    """Linear warm-up, then a cosine to the end of the stage."""

    learning_rate: float  # after warm-up
    min_learning_rate: float  # at the end
    warmup_learning_rate: float  # at the start of warm-up
    warmup_epochs: float
    period: str  # "step" | "epoch": how often the rate changes


class Group(NamedTuple):
    """Parameters of one rate and decay, by name."""

    pattern: str  # regular expression, matched against the whole "a/b/c" name
    rate: float  # multiplies the learning rate; 0 freezes
    decay: float  # weight decay
    # How decay acts: "adamw" on the parameter itself (decoupled) | "adam" as a part of the
    # gradient, which Adam then scales (L2, as torch.optim.Adam).
    kind: str = "adamw"


class Adam(NamedTuple):
    """Constants of AdamW."""

    beta1: float
    beta2: float
    epsilon: float
    clip_norm: float  # global gradient norm; 0 does not clip
    accumulate: int  # batches per optimiser step


def learning_rate(
    schedule: Schedule, epochs: float, steps_per_epoch: int
) -> Callable[[jax.Array], jax.Array]:
    """Returns the rate as a function of the optimiser step i32[].

    With e the epoch of the step (its whole part if the period is "epoch"), w the warm-up and E
    the epochs of the stage:

        e < w:  warmup + (rate - warmup) e / w
        else:   min + (rate - min) (1 + cos(pi (e - w) / (E - w))) / 2

    The schedule of IRRA's release (solver/lr_scheduler.py) and, up to an offset of an epoch, of
    ALBEF's.

    Args:
      schedule: the constants.
      epochs: E, > 0.
      steps_per_epoch: optimiser steps an epoch, >= 1.

    Raises:
      ValueError: a period that is not known, or a warm-up that is not shorter than the stage.
    """
    if schedule.period not in PERIODS:
        raise ValueError(
            f"optim.period must be one of {', '.join(PERIODS)}, got {schedule.period!r}"
        )
    if not 0 <= schedule.warmup_epochs < epochs:
        raise ValueError(
            f"optim.warmup_epochs must be in [0, {epochs}), the epochs of the stage, "
            f"got {schedule.warmup_epochs}"
        )

    def rate(step: jax.Array) -> jax.Array:
        # Whole numbers are divided as such: a rounded quotient could fall into the epoch before.
        whole = schedule.period == "epoch"
        epoch = step // steps_per_epoch if whole else step / steps_per_epoch
        warm = schedule.warmup_learning_rate + (
            schedule.learning_rate - schedule.warmup_learning_rate
        ) * epoch / max(schedule.warmup_epochs, 1e-9)
        share = (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs)
        cosine = schedule.min_learning_rate + (
            schedule.learning_rate - schedule.min_learning_rate
        ) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1)))
        return jnp.where(epoch < schedule.warmup_epochs, warm, cosine)

    return rate


def parameter_name(path: tuple) -> str:
    """Returns "vit/blocks_0/norm1/scale" for the key path of a leaf."""
    return "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def assign_groups(params: Any, groups: tuple[Group, ...]) -> Any:
    """Returns the tree of params with the group of each leaf: the first whose pattern matches.

    Raises:
      ValueError: a parameter that no pattern covers, or a pattern that covers no parameter.
    """
    tree = _assigned(params, groups)
    used = set(jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Group)))
    for group in groups:
        if group not in used:
            raise ValueError(f"optim.groups: pattern {group.pattern!r} covers no parameter")
    return tree


def adamw(
    adam: Adam,
    groups: tuple[Group, ...],
    rate: Callable[[jax.Array], jax.Array],
    trained: str = ".*",
) -> optax.GradientTransformation:
    """Returns AdamW whose rate and decay depend on the name of a parameter.

        p <- p - rate(t) * group.rate * (adam(g) + group.decay * p)      of the kind "adamw"
        p <- p - rate(t) * group.rate * adam(g + group.decay * p)        of the kind "adam"

    where g is clipped already. What is not trained, or in a group of rate 0, stays as it is, takes
    no memory here and does not count in the norm that is clipped.

    Args:
      adam: the constants.
      groups: see `assign_groups`.
      rate: of the optimiser step.
      trained: pattern of the names of the parameters that change; all others stay.

    Raises:
      ValueError: a kind that is not known.
      ValueError: at init, if the groups do not cover the parameters (see `assign_groups`), or no
        parameter is trained.
    """

    for group in groups:
        if group.kind not in KINDS:
            raise ValueError(
                f"optim.groups: kind must be one of {', '.join(KINDS)}, got {group.kind!r}"
            )

    def init(params):
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params):
        now = rate(state.count)
        assigned = _assigned(params, groups)
        updates = jax.tree.map(
            lambda u, p, group: -now * group.rate * (u + _decay(group, "adamw") * p),
            updates,
            params,
            assigned,
        )
        return updates, optax.ScaleByScheduleState(count=state.count + 1)

    parts = [
        optax.scale_by_adam(b1=adam.beta1, b2=adam.beta2, eps=adam.epsilon),
        optax.GradientTransformation(init, update),
    ]
    # Only where it is needed: it would be an entry more in the state that checkpoints hold.
    if any(group.kind == "adam" for group in groups):
        parts.insert(0, _l2(groups))
    if adam.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(adam.clip_norm))
    chain = optax.chain(*parts)
    if adam.accumulate > 1:
        chain = optax.MultiSteps(chain, adam.accumulate).gradient_transformation()
    return _of_trained(chain, groups, trained)


def _of_trained(
    chain: optax.GradientTransformation, groups: tuple[Group, ...], trained: str
) -> optax.GradientTransformation:
    """The chain for what is trained; nothing else changes."""

    def is_trained(params):
        def moves(path, group):
            return group.rate > 0 and bool(re.fullmatch(trained, parameter_name(path)))

        return jax.tree_util.tree_map_with_path(
            moves, _assigned(params, groups), is_leaf=lambda x: isinstance(x, Group)
        )

    def partitioned(params):
        labels = jax.tree.map(lambda yes: "trained" if yes else "still", is_trained(params))
        return optax.partition({"trained": chain, "still": optax.set_to_zero()}, labels)

    def init(params):
        assign_groups(params, groups)
        chosen = jax.tree.leaves(is_trained(params))
        if not any(chosen):
            raise ValueError(f"optim.trained: {trained!r} matches no parameter of a rate above 0")
        # What holds for all needs no entry more in the state that checkpoints hold.
        return chain.init(params) if all(chosen) else partitioned(params).init(params)

    def update(updates, state, params):
        everything = all(jax.tree.leaves(is_trained(params)))
        return (chain if everything else partitioned(params)).update(updates, state, params)

    return optax.GradientTransformation(init, update)


def _assigned(params: Any, groups: tuple[Group, ...]) -> Any:
    """The tree of params with the group of each leaf."""

    def assign(path, _):
        name = parameter_name(path)
        for group in groups:
            if re.fullmatch(group.pattern, name):
                return group
        raise ValueError(
            f"optim.groups: no pattern covers parameter {name!r}; "
            f"patterns are {', '.join(repr(group.pattern) for group in groups)}"
        )

    return jax.tree_util.tree_map_with_path(assign, params)


def _l2(groups: tuple[Group, ...]) -> optax.GradientTransformation:
    """Adds the decay of groups of the kind "adam" to the gradient."""

    def update(updates, state, params):
        assigned = _assigned(params, groups)
        added = jax.tree.map(
            lambda g, p, group: g + _decay(group, "adam") * p, updates, params, assigned
        )
        return added, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _decay(group: Group, kind: str) -> float:
    """The decay of a group if it is of a kind."""
    return group.decay if group.kind == kind else 0.0
