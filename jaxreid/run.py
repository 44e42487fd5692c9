"""One run in a folder: data, tokenizer, method, training and evaluation wired together."""

import importlib
import json
import os
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxreid import optim, results
from jaxreid.checkpoint import Checkpoints, config_difference
from jaxreid.config import check, nearest
from jaxreid.data import pipeline
from jaxreid.data.dataset import open_split
from jaxreid.data.records import Split, caption_pairs
from jaxreid.data.text import train_tokenizer
from jaxreid.devices import peak_flops
from jaxreid.evaluate import Evaluation, Items, Settings
from jaxreid.evaluate import evaluate as rank_and_score
from jaxreid.files import write_json
from jaxreid.loop import Plan, Stage, run_loop
from jaxreid.mesh import make_mesh, put_batch, replicated
from jaxreid.methods import Method
from jaxreid.runlog import RunLog, clock
from jaxreid.train import init_on_mesh, jit_train_step, restart_optimizer

# Sections and fields in which a run and its continuation may differ: they change no number that
# training computes.
_FREE = (
    "data.data_dir",
    "data.manual_dir",
    "data.workers",
    "train.compilation_cache",
    "train.stop_after",
    "eval.",
)
# What must be equal to evaluate the weights of a run: these make the network and its inputs.
_NETWORK = ("method", "image.", "text.", "model.")


class _Parts(NamedTuple):
    """What training and evaluation both need."""

    config: ConfigDict  # resolved: tokenizer and steps_per_epoch are set
    method: Method
    mesh: Mesh
    split: Any  # name -> Split


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Trains, or goes on with a run that was stopped; then evaluates the best checkpoint on test.

    Args:
      config: a recipe.
      workdir: folder of the run; made if it is missing.

    Returns:
      The contents of results.json; nothing if train.stop_after leaves stages to be trained.

    Raises:
      ValueError, OSError: what a user can do wrong, in one sentence.
    """
    started = time.monotonic()
    check(config, jax.device_count())
    _enter(config, workdir)
    parts = _assemble(config, workdir)
    config, method, mesh = parts.config, parts.method, parts.mesh
    split = parts.split("train")
    source = pipeline.Pairs(split, _tokenized(method, split))
    checkpoints = _checkpoints(config, workdir)
    plan, first_tx = _plan(config, method, mesh)
    start = _start(config)
    step = checkpoints.latest() or 0
    if step:
        abstract = jax.eval_shape(partial(init_on_mesh, method, first_tx, mesh, config.seed, start))
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), abstract
        )
        state, position = checkpoints.restore(step, abstract)
        logging.info("going on from step %d of %d", step, plan.stages[-1].end)
    else:
        state, position = init_on_mesh(method, first_tx, mesh, config.seed, start), None
    count = sum(x.size for x in jax.tree.leaves(state.params))
    logging.info("%s: %.2f M parameters, %d steps", config.method, count / 1e6, plan.stages[-1].end)

    iterator = pipeline.train_iterator(
        source,
        method.transform,
        batch_size=config.train.batch_size,
        seed=config.seed,
        epochs=None,
        workers=config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        images_per_person=config.data.images_per_person or None,
    )
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
    params = _restored_params(checkpoints, best, state)
    checkpoints.close()
    return _finish(parts, params, workdir, "results", {"train": seconds}, best)


def evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Evaluates the best checkpoint of a run on the test split of the data set of `config`.

    On another data set than the run's the files are named results-DATA_SET.json and so on: no
    parameter is tuned there (domain generalisation).

    Returns:
      The contents of the results file.

    Raises:
      FileNotFoundError: there is no run in workdir.
      ValueError: the network of the config is not the run's.
    """
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        raise FileNotFoundError(f"no run in {workdir}: {path} is missing")
    with open(path) as file:
        saved = json.load(file)
    different = _differences(saved, config, only=_NETWORK)
    if different:
        raise ValueError(f"the run in {workdir} is of another config: {'; '.join(different)}")
    parts = _assemble(config, workdir)
    method, mesh = parts.method, parts.mesh
    checkpoints = _checkpoints(config, workdir)
    best = checkpoints.best()
    if best is None:
        raise FileNotFoundError(f"no checkpoint in {workdir}/checkpoints")
    _, tx = _plan(parts.config, method, mesh)
    abstract = jax.eval_shape(partial(init_on_mesh, method, tx, mesh, config.seed))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), abstract
    )
    params = _restored_params(checkpoints, best, abstract)
    checkpoints.close()
    same = saved["data"]["name"] == config.data.name and (
        saved["data"]["variant"] == config.data.variant
    )
    other = "-".join(filter(None, (config.data.name, config.data.variant)))
    return _finish(parts, params, workdir, "results" if same else f"results-{other}", {}, best)


def _enter(config: ConfigDict, workdir: str) -> None:
    """Makes the folder of a run, or checks that what was trained there is this run."""
    path = os.path.join(workdir, "config.json")
    begun = os.path.isdir(os.path.join(workdir, "checkpoints"))
    if begun and os.path.exists(path):
        with open(path) as file:
            different = _differences(json.load(file), config, free=_FREE)
        if different:
            raise ValueError(
                f"{workdir} holds a run of another config: {'; '.join(different)}; "
                "give another --workdir"
            )
    elif jax.process_index() == 0:
        write_json(path, json.loads(config.to_json_best_effort()))


def _differences(saved: dict, config: ConfigDict, *, only=("",), free=()) -> list[str]:
    """What differs between a saved config and one given, in some fields."""
    given = json.loads(config.to_json_best_effort())
    return [
        line
        for line in config_difference(saved, given)
        if line.startswith(only) and not line.startswith(free or "\0")
    ]


def _assemble(config: ConfigDict, workdir: str) -> _Parts:
    """Data, tokenizer and method of a config; the config with what depends on the data set."""
    check(config, jax.device_count())
    config = config.copy_and_resolve_references().unlock()
    if config.train.compilation_cache:
        cache = os.path.join(os.path.expanduser(config.data.data_dir), "compiled")
        jax.config.update("jax_compilation_cache_dir", cache)
    opened = {}

    def split(name: str) -> Split:
        if name not in opened:
            opened[name] = open_split(
                config.data.name,
                name,
                data_dir=os.path.expanduser(config.data.data_dir),
                manual_dir=os.path.expanduser(config.data.manual_dir) or None,
                variant=config.data.variant or None,
                allow_partial=config.data.allow_partial,
                caption_limit=config.data.caption_limit or None,
                val_people=config.data.val_people,
            )
        return opened[name]

    if not config.text.tokenizer:
        folder = os.path.join(workdir, "tokenizer")
        if not os.path.exists(folder):
            captions = [text for texts in split("train").captions for text in texts]
            train_tokenizer(captions, config.text.vocabulary, folder)
        config.text.tokenizer = folder
    if not config.train.steps_per_epoch:
        pairs = len(caption_pairs(split("train")))
        config.train.steps_per_epoch = pipeline.steps_per_epoch(pairs, config.train.batch_size)
    try:
        module = importlib.import_module(f"jaxreid.methods.{config.method}")
    except ModuleNotFoundError as error:
        if error.name != f"jaxreid.methods.{config.method}":
            raise
        folder = os.path.join(os.path.dirname(__file__), "methods")
        known = sorted(f[:-3] for f in os.listdir(folder) if f[0] != "_" and f.endswith(".py"))
        raise ValueError(
            f"config.method must be one of {', '.join(known)}, got {config.method!r}"
            f"{nearest(config.method, known)}"
        ) from error
    return _Parts(config, module.make(config), make_mesh(), split)


def _tokenized(method: Method, split: Split) -> dict[str, np.ndarray]:
    """Arrays with a row for each (image, caption) of a split."""
    captions = [text for texts in split.captions for text in texts]
    started = time.monotonic()
    texts = method.tokenize(captions)
    seconds = time.monotonic() - started
    logging.info(
        "%s %s: %d captions of %d images tokenized in %.1f s",
        split.data_set, split.split, len(captions), len(split.files), seconds,
    )  # fmt: skip
    return texts


def _checkpoints(config: ConfigDict, workdir: str) -> Checkpoints:
    """The checkpoints of a run."""
    return Checkpoints(
        os.path.join(workdir, "checkpoints"), keep=config.train.keep, best=config.eval.select
    )


def _plan(config: ConfigDict, method: Method, mesh: Mesh) -> tuple[Plan, Any]:
    """The stages of a run in steps, and the optimiser of the first."""
    o, per_epoch = config.optim, config.train.steps_per_epoch
    schedule = optim.Schedule(
        o.learning_rate, o.min_learning_rate, o.warmup_learning_rate, o.warmup_epochs, o.period
    )
    adam = optim.Adam(o.beta1, o.beta2, o.epsilon, o.clip_norm, o.accumulate)
    groups = tuple(optim.Group(*group) for group in o.groups)
    stages, start, first_tx = [], 0, None
    for number, epochs in enumerate(config.train.epochs):
        rate = optim.learning_rate(schedule, epochs, max(per_epoch // o.accumulate, 1))
        tx = optim.adamw(adam, groups, rate)
        first_tx = tx if first_tx is None else first_tx
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
    return plan, first_tx


def _start(config: ConfigDict) -> None:
    """What puts start weights in; None is a random start."""
    if config.start:
        raise ValueError(
            f"config.start: published weights cannot be read yet, got {config.start!r}; "
            'give "" to start from random'
        )
    logging.info("no start weights: all parameters start from random")


def _ranked(parts: _Parts, params: Any, split: Split, top_k: int) -> Evaluation:
    """Ranks the images of a split for each of its captions."""
    config, method = parts.config, parts.method
    e = config.eval
    batch = partial(
        pipeline.eval_batches,
        transform=method.transform,
        batch_size=e.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=2,
    )
    captions = pipeline.Captions(split, _tokenized(method, split))
    queries = Items((b for b, _ in batch(captions)), split.person_id[captions.image_id])
    images = Items((b["image"] for b, _ in batch(pipeline.Images(split))), split.person_id)
    settings = Settings(
        top_k=top_k,
        rule=e.rule,
        temperature=None,
        direction=e.direction,
        missing=e.missing,
        token_dtype=e.token_dtype,
        chunk=e.chunk,
        pair_batch=e.pair_batch,
        query_chunk=e.query_chunk,
        image_chunk=e.image_chunk,
    )
    return rank_and_score(method, params, queries, images, parts.mesh, settings)


def _validate(parts: _Parts, params: Any) -> dict[str, float]:
    """Scores on val, by which the best checkpoint is chosen."""
    e = parts.config.eval
    ranked = _ranked(parts, params, parts.split("val"), e.top_k if e.rerank_val else 0)
    scores = ranked.results["final"]
    logging.info("val: %s", " ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return scores


def _restored_params(checkpoints: Checkpoints, step: int, template: Any) -> Any:
    """The parameters of one checkpoint."""
    state, _ = checkpoints.restore(step, template)
    return state.params


def _finish(
    parts: _Parts, params: Any, workdir: str, name: str, seconds: dict, step: int
) -> dict[str, Any]:
    """Ranks the test split and writes the results of a run."""
    split = parts.split("test")
    logging.info("evaluating step %d on %s test", step, split.data_set)
    ranked = _ranked(parts, params, split, parts.config.eval.top_k)
    out = results.collect(ranked, seconds, step)
    if jax.process_index() == 0:
        results.write(workdir, name, out, ranked, split, parts.config.eval.sheet_queries)
    return out
