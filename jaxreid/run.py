"""One run in a folder: data, tokenizer, method, training and evaluation wired together."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxreid import optim, results
from jaxreid.best import best_params, check_trained, open_checkpoints
from jaxreid.config import RANDOM, check, check_needed, patch_grid
from jaxreid.data import pipeline
from jaxreid.devices import peak_flops
from jaxreid.evaluate import Evaluation, Items, Settings
from jaxreid.evaluate import evaluate as rank_and_score
from jaxreid.export import write_model
from jaxreid.loop import Plan, Stage, run_loop
from jaxreid.mesh import put_batch, replicated_shapes
from jaxreid.methods import Method
from jaxreid.parts import Parts, assemble, method_module
from jaxreid.published import MEMORY, fill, is_published, named_shapes, open_sources, put, tell
from jaxreid.runlog import RunLog, clock
from jaxreid.saved import check_network, enter, read_saved, with_training_of
from jaxreid.start import load_start, read_rules
from jaxreid.train import init_on_mesh, init_state, jit_train_step, restart_optimizer

MODEL = "model"  # folder, in that of a run, of what `jaxreid.load` reads


def train(config: ConfigDict, workdir: str, command: str = "") -> dict[str, Any]:
    """Trains, or goes on with a run that was stopped; then evaluates the best checkpoint on test.

    Args:
      config: a recipe.
      workdir: folder of the run; made if it is missing.
      command: that was given, for results.json and the card of the model.

    Returns:
      The contents of results.json; nothing if train.stop_after leaves stages to be trained.

    Raises:
      ValueError, OSError: what a user can do wrong, in one sentence.
    """
    started = time.monotonic()
    check(config, jax.device_count())
    check_needed(config)
    if is_published(config.start):
        open_sources(config)  # a wrong file is told before data is read
    _check_val(config.data)
    begun = enter(config, workdir)
    vocabulary = os.path.join(workdir, "tokenizer")
    parts = _first_on_one(partial(assemble, config, vocabulary, learn=not begun))
    config, method, mesh = parts.config, parts.method, parts.mesh
    iterator = pipeline.train_iterator(
        parts.training(),
        method.transform,
        batch_size=config.train.batch_size,
        seed=config.seed,
        epochs=None,
        workers=config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        images_per_person=config.data.images_per_person or None,
    )
    # What would stop the run at its end stops it here.
    _check_ranked(parts, "val", config.eval.top_k if config.eval.rerank_val else 0)
    _check_ranked(parts, "test", config.eval.top_k)
    plan, optimisers = _plan(config, method, mesh)
    checkpoints = open_checkpoints(config, workdir)
    step = checkpoints.latest() or 0
    if step:
        # A stage begins with a fresh optimiser: what was saved at its start is of the one before.
        stage = next(i for i, stage in enumerate(plan.stages) if step <= stage.end)
        tx = optimisers[stage]
        shapes = jax.eval_shape(partial(init_state, method, tx), jax.random.key(config.seed))
        state, position = checkpoints.restore(step, replicated_shapes(mesh, shapes))
        logging.info("going on from step %d of %d", step, plan.stages[-1].end)
    else:
        start = _start(config, method)
        state, position = init_on_mesh(method, optimisers[0], mesh, config.seed, start.params), None
        state = state.replace(memory=start.memory(state.memory))
    count = sum(x.size for x in jax.tree.leaves(state.params))
    logging.info("%s: %.2f M parameters, %d steps", config.method, count / 1e6, plan.stages[-1].end)

    if position is not None:
        iterator.set_state(position)
    log = RunLog(workdir, resume_step=step, active=jax.process_index() == 0)
    validate = partial(_validate, parts)
    try:
        with pipeline.device_batches(iterator, partial(put_batch, mesh)) as batches:
            state = run_loop(
                state, batches, plan, checkpoints=checkpoints, log=log, validate=validate
            )
    finally:
        log.close()
    seconds = time.monotonic() - started
    logging.info("trained in %s", clock(seconds))
    if plan.stop is not None:
        checkpoints.close()
        logging.info("stopped after stage %d of %d", config.train.stop_after, len(plan.stages))
        return {}
    best = checkpoints.best()
    params = checkpoints.restore_params(best, state.params)
    checkpoints.close()
    said = {"command": command} if command else {}
    out = _finish(parts, params, workdir, "results", {"train": seconds}, best, said)
    write_model(os.path.join(workdir, MODEL), parts, params, best, out)
    return out


def evaluate(config: ConfigDict, workdir: str, command: str = "") -> dict[str, Any]:
    """Evaluates the best checkpoint of a run on the test split of the data set of `config`.

    On another data set than the run's the files are named results-DATA_SET.json and so on: no
    parameter is tuned there (domain generalisation). A field of the method that chooses how to rank
    (its RANKED_BY) is appended where it is not the run's, as results-query-image.json.

    Returns:
      The contents of the results file.

    Raises:
      FileNotFoundError: there is no run in workdir.
      ValueError: the network of the config is not the run's.
    """
    parts, params, best = restore(config, workdir)
    _check_ranked(parts, "test", config.eval.top_k)
    said = {"command": command} if command else {}
    return _finish(parts, params, workdir, results_of(config, workdir), {}, best, said)


def results_of(config: ConfigDict, workdir: str) -> str:
    """Returns the name of the results, without .json, that `evaluate` writes for these arguments.

    Raises:
      FileNotFoundError: there is no run in workdir.
    """
    saved, method = read_saved(workdir), config.method
    name = results.results_name(saved["data"], config.data)
    for field in _ranked_by(config):
        given = config[method][field]
        words = "+".join(given) if isinstance(given, tuple) else given
        if given != _as_given(saved[method][field]):
            name += f"-{field}-{words}"
    return name


def _as_given(value: Any) -> Any:
    """A saved field as recipes have it: JSON makes lists of tuples."""
    return tuple(value) if isinstance(value, list) else value


def restore(config: ConfigDict, workdir: str) -> tuple[Parts, Any, int]:
    """Returns the parts of a config, the best parameters of a run, and the step they are of.

    Args:
      config: of the network of the run; its data may be others.
      workdir: of the run.

    Raises:
      FileNotFoundError: there is no run in workdir.
      ValueError: the network of the config is not the run's.
    """
    config = config.copy_and_resolve_references()
    # Nothing is trained.
    config.train.batch_size, config.data.images_per_person = jax.device_count(), 0
    check(config, jax.device_count())
    saved = read_saved(workdir)
    check_network(saved, config, workdir)
    check_trained(workdir)
    full = with_training_of(saved, config, _ranked_by(config))
    parts = _first_on_one(partial(assemble, full, f"{workdir}/tokenizer", learn=False))
    return parts, *best_params(parts, workdir)


def _ranked_by(config: ConfigDict) -> tuple[str, ...]:
    """The fields of the method's section that an evaluation may choose."""
    return getattr(method_module(config.method), "RANKED_BY", ())


def _first_on_one(make: Callable[[], Parts]) -> Parts:
    """What `make` returns; process 0 comes first, since it may write what the others then read."""
    if jax.process_count() == 1:
        return make()
    parts = make() if jax.process_index() == 0 else None
    multihost_utils.sync_global_devices("first_on_one")
    return parts or make()


def _plan(config: ConfigDict, method: Method, mesh: Mesh) -> tuple[Plan, list]:
    """The stages of a run in steps, and the optimiser of each."""
    o, per_epoch = config.optim, config.train.steps_per_epoch
    schedule = optim.Schedule(
        o.learning_rate, o.min_learning_rate, o.warmup_learning_rate, o.warmup_epochs, o.period
    )
    adam = optim.Adam(o.beta1, o.beta2, o.epsilon, o.clip_norm, o.accumulate)
    groups = tuple(optim.Group(*group) for group in o.groups)
    stages, start, optimisers = [], 0, []
    for number, epochs in enumerate(config.train.epochs):
        rate = optim.learning_rate(schedule, epochs, max(per_epoch // o.accumulate, 1))
        tx = optim.adamw(adam, groups, rate, o.trained[number] if o.trained else ".*")
        optimisers.append(tx)
        step = jit_train_step(method, tx, mesh, number)
        end = start + max(round(epochs * per_epoch), 1)
        stages.append(
            Stage(
                start=start,
                end=end,
                compile=lambda state, batch, step=step: step.lower(state, batch).compile(),
                restart=lambda state, tx=tx: restart_optimizer(state, tx, mesh),
            )
        )
        start = end
    last = config.train.stop_after
    plan = Plan(
        stages=tuple(stages),
        log_every=config.train.log_every,
        evaluate_every=max(round(config.train.evaluate_every * per_epoch), 1),
        save_every=max(round(config.train.save_every * per_epoch), 1),
        batch_size=config.train.batch_size,
        peak_flops=peak_flops(jax.devices()),
        stop=stages[last - 1].end if 0 < last < len(stages) else None,
    )
    return plan, optimisers


class _Start(NamedTuple):
    """What puts start weights in."""

    params: Callable[[Any], Any] | None = None
    memory: Callable[[Any], Any] = lambda memory: memory


def _start(config: ConfigDict, method: Method) -> _Start:
    """Reads what `config.start` names, before anything is allocated."""
    rules = read_rules(config)
    if config.start in ("", RANDOM):
        logging.info("no start weights: all parameters start from random")
        return _Start()
    if not is_published(config.start):
        return _Start(partial(load_start, config.start, rules=rules))
    key = jax.random.key(config.seed)
    params = jax.eval_shape(method.init, key)
    shapes = named_shapes(params, jax.eval_shape(method.init_memory, key, params))
    filled = fill(open_sources(config), shapes, patch_grid(config), rules.fresh, rules.unused)
    tell(filled)
    return _Start(
        partial(put, arrays=filled.arrays), partial(put, arrays=filled.arrays, prefix=MEMORY)
    )


def _check_val(data: ConfigDict) -> None:
    """Refuses to train where there is no val split."""
    if data.name == "icfg_pedes" and not data.val_people:
        raise ValueError(
            "config.data.val_people must be > 0 to train on icfg_pedes: it has no val split, by "
            "which the best checkpoint is chosen; so many people of train are held out as val"
        )


def _check_ranked(parts: Parts, name: str, top_k: int) -> None:
    """Opens and tokenizes a split that will be ranked."""
    gallery = len(pipeline.Images(parts.split(name)))
    if top_k > gallery:
        raise ValueError(
            f"config.eval.top_k must be in 0..{gallery}, the {name} gallery of "
            f"{parts.config.data.name}, got {top_k}"
        )
    parts.queries(name)


def _ranked(
    parts: Parts, params: Any, name: str, top_k: int, *, rounds: bool = False
) -> Evaluation:
    """Ranks the gallery of a split for each of its queries; of dialogues after each round too."""
    config, method = parts.config, parts.method
    split, asked = parts.split(name), parts.queries(name)
    e = config.eval
    batch = partial(
        pipeline.eval_batches,
        transform=method.transform,
        batch_size=e.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=2,
    )
    queries = Items((b for b, _ in batch(asked.records)), asked.person_id)
    shown = pipeline.Images(split)
    images = Items((b["image"] for b, _ in batch(shown)), split.person_id[shown.image_id])
    settings = Settings(
        top_k=top_k,
        rule=e.rule,
        temperature=_temperature(parts, params),
        direction=e.direction,
        missing=e.missing,
        token_dtype=e.token_dtype,
        chunk=e.chunk,
        pair_batch=e.pair_batch,
        query_chunk=e.query_chunk,
        image_chunk=e.image_chunk,
    )
    turns = asked.turns if rounds else ()
    if turns and config.dialogue.curve:
        turns = turns[: config.dialogue.curve + 1]
    turns = [Items((b for b, _ in batch(records)), asked.person_id) for records in turns]
    return rank_and_score(method, params, queries, images, parts.mesh, settings, turns)


def _temperature(parts: Parts, params: Any) -> float | None:
    """The temperature of the rule nce: of the config, else the one that drew the negatives."""
    given, learnt = parts.config.eval.temperature, parts.method.temperature
    if given or parts.config.eval.rule != "nce" or learnt is None:
        return given or None
    return float(learnt(params))


def _validate(parts: Parts, params: Any) -> dict[str, float]:
    """Scores on val, by which the best checkpoint is chosen."""
    e = parts.config.eval
    ranked = _ranked(parts, params, "val", e.top_k if e.rerank_val else 0)
    scores = ranked.results["final"]
    logging.info("val: %s", " ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return scores


def _finish(
    parts: Parts, params: Any, workdir: str, name: str, seconds: dict, step: int, said: dict
) -> dict[str, Any]:
    """Ranks the test split and writes the results of a run, with what else is to be said."""
    split = parts.split("test")
    logging.info("evaluating step %d on %s test", step, split.data_set)
    ranked = _ranked(parts, params, "test", parts.config.eval.top_k, rounds=True)
    out = results.collect(ranked, split, parts.config, seconds, step) | said
    if jax.process_index() == 0:
        shown = results.Shown(split, parts.queries("test"), parts.config.eval.sheet_queries)
        results.write(workdir, name, out, ranked, shown)
    return out
