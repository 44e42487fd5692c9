"""The training loop: stages, logging, validation, checkpoints, resume and signals."""

import collections
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from jaxreid.checkpoint import Checkpoints
from jaxreid.data.prefetch import DeviceBatches
from jaxreid.mesh import fetch
from jaxreid.runlog import RunLog, clock
from jaxreid.train import NONFINITE_LIMIT, TrainState


class Stage(NamedTuple):
    """One stage of training."""

    end: int  # step at which it ends, counted from the start of the run
    start: int
    compile: Callable[[TrainState, Any], Any]  # (state, batch) -> compiled step
    restart: Callable[[TrainState], TrainState]  # puts a fresh optimiser in


class Plan(NamedTuple):
    """When the loop does what, in steps."""

    stages: tuple[Stage, ...]
    log_every: int
    evaluate_every: int
    save_every: int
    batch_size: int  # global
    peak_flops: float | None  # of all devices, where known
    stop: int | None = None  # end of the stage after which to stop; None: the last


class Interrupted(Exception):
    """The run was asked to stop by a signal and has saved its state."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} at step {step}, saved")
        self.signum = signum


class NotFinite(Exception):
    """Losses or gradients were not finite several times in a row."""


def run_loop(
    state: TrainState,
    batches: DeviceBatches,
    plan: Plan,
    *,
    checkpoints: Checkpoints,
    log: RunLog,
    validate: Callable[[Any], Mapping[str, float]],
) -> TrainState:
    """Trains from the step of `state` to the end of the last stage, or to `plan.stop`.

    Nothing in a step waits for the device: metrics stay there until the step after a logged one
    has been sent. SIGTERM and SIGINT save the current step and raise; a second one ends the
    process at once.

    Args:
      state: as restored or initialised, on the mesh.
      batches: yields global batches on the mesh, each with image_id.
      plan: when to do what.
      checkpoints: where to save.
      log: where to write metrics.
      validate: params -> metrics of the validation split; its values go to the checkpoint.

    Raises:
      Interrupted: after a signal, with everything saved.
      NotFinite: NONFINITE_LIMIT batches in a row were skipped; names the images of each. The
        state is as before the first of them, and no later one was saved.
    """
    step, total = int(state.step), plan.stages[-1].end
    stop_step = total if plan.stop is None else plan.stop
    meter = _Meter(step, stop_step, plan)
    reports = _Reports(log, meter, batches, plan.log_every)
    with _Stop() as stop:
        for number, stage in enumerate(plan.stages):
            if step >= stage.end or step >= stop_step:
                continue
            if step == stage.start and number:
                state = stage.restart(state)
                logging.info("stage %d of %d begins", number + 1, len(plan.stages))
            compiled = None
            while step < stage.end:
                batch = next(batches)
                reports.saw(step + 1, batch["image_id"])
                if compiled is None:
                    compiled = _compile(stage, state, batch, number, len(plan.stages))
                    meter.compiled(compiled, step, batches.wait_seconds)
                state, metrics = compiled(state, batch)
                step += 1
                reports.write()  # of the step before, while the device works on this one
                if step % plan.log_every == 0 or step == total:
                    reports.add(step, number, metrics)
                if step == stage.end:
                    reports.write()
                scores = None
                if step % plan.evaluate_every == 0 or step == total:
                    reports.write()
                    reports.check(step, state.nonfinite)
                    started = time.monotonic()
                    scores = dict(validate(state.params))
                    log.write(step, {f"val/{name}": value for name, value in scores.items()})
                    meter.pause(time.monotonic() - started)
                signum = stop.asked(step % plan.log_every == 0)
                due = step % plan.save_every == 0 or step == stop_step
                if scores is not None or due or signum:
                    reports.write()
                    reports.check(step, state.nonfinite)
                    checkpoints.save(step, state, batches.get_state(), scores, wait=bool(signum))
                if signum:
                    raise Interrupted(signum, step)
    checkpoints.wait()
    return state


def _compile(stage: Stage, state: TrainState, batch: Any, number: int, count: int):
    """The compiled step of a stage, with a line before, since it may take a while."""
    logging.info("compiling the step of stage %d of %d", number + 1, count)
    started = time.monotonic()
    compiled = stage.compile(state, batch)
    logging.info("compiled in %.1f s", time.monotonic() - started)
    return compiled


class _Reports:
    """Writes the metrics of a logged step once the next one is on its way."""

    def __init__(self, log: RunLog, meter: "_Meter", batches: DeviceBatches, log_every: int):
        self._log, self._meter, self._batches = log, meter, batches
        # Reaches back from the step after a logged one to the first that may have been skipped
        # before the logged one before it.
        self._seen = collections.deque(maxlen=log_every + NONFINITE_LIMIT + 1)
        self._pending = None
        self._skipped = None

    def saw(self, step: int, image_id: jax.Array) -> None:
        """Keeps the images of the batch of a step, to name them if they are at fault."""
        self._seen.append((step, image_id))

    def add(self, step: int, stage: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of a step; they stay on the device."""
        self._pending = step, stage, metrics

    def write(self) -> None:
        """Fetches and writes what was added since the last call."""
        if self._pending is None:
            return
        (step, stage, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        nonfinite, skipped = int(values.pop("nonfinite")), int(values.pop("skipped"))
        values["stage"] = stage + 1
        if skipped:
            values["skipped"] = skipped
            if skipped != self._skipped:
                logging.warning(
                    "step %d: batches skipped so far because loss or gradient was not finite: %d",
                    step, skipped,
                )  # fmt: skip
        self._skipped = skipped
        timing = self._meter.measure(step, self._batches.wait_seconds)
        self._log.write(step, {**values, **timing})
        self._meter.say(step, values, timing)
        self.check(step, nonfinite)

    def check(self, step: int, nonfinite: jax.Array | int) -> None:
        """Stops a run whose state is frozen after a step."""
        nonfinite = int(jax.device_get(nonfinite))
        if nonfinite < NONFINITE_LIMIT:
            return
        first = step - nonfinite + 1
        images = {s: ids for s, ids in self._seen if first <= s < first + NONFINITE_LIMIT}
        listed = "; ".join(
            f"step {s}: images {', '.join(map(str, fetch(images[s])))}"
            if s in images
            else f"step {s}: read before the run was resumed"
            for s in range(first, first + NONFINITE_LIMIT)
        )
        raise NotFinite(
            f"loss or gradient not finite in {NONFINITE_LIMIT} batches in a row, "
            f"from step {first}: {listed}"
        )


class _Stop:
    """Notes the first SIGTERM or SIGINT; the system ends the process at the second."""

    def __init__(self):
        self._signum = 0
        self._old = {}

    def __enter__(self):
        for signum in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # in a thread the caller handles its signals
                self._old[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exc):
        for signum, handler in self._old.items():
            signal.signal(signum, handler)

    def _note(self, signum, frame):
        self._signum = signum
        for number in self._old:
            signal.signal(number, signal.SIG_DFL)
        logging.warning("%s: saving after this step", signal.Signals(signum).name)

    def asked(self, together: bool) -> int:
        """The signal that asks to stop, or 0; several processes agree when `together`."""
        if jax.process_count() == 1:
            return self._signum
        if not together:
            return 0
        return int(multihost_utils.process_allgather(np.int32(self._signum)).max())


class _Meter:
    """Rate, time left, wait for data and share of the peak since the last measurement."""

    def __init__(self, step: int, total: int, plan: Plan):
        self._plan, self._total = plan, total
        self._step, self._time, self._waited = step, time.monotonic(), 0.0
        self._flops = None
        self._rate = None

    def compiled(self, compiled, step: int, waited: float) -> None:
        """Starts measuring after a compilation; takes the step's FLOPs from the compiler."""
        analysis = compiled.cost_analysis() if hasattr(compiled, "cost_analysis") else None
        self._flops = analysis.get("flops") if analysis else None
        self._step, self._time, self._waited = step, time.monotonic(), waited

    def pause(self, seconds: float) -> None:
        """Leaves a time out of the rate."""
        self._time += seconds

    def measure(self, step: int, waited: float) -> dict[str, float]:
        """Timing since the last call; the keys are `runlog.TIMING`."""
        now = time.monotonic()
        seconds, steps = now - self._time, step - self._step
        out = {
            "seconds": round(seconds, 4),
            "examples_per_second": round(steps * self._plan.batch_size / seconds, 2),
            "data_wait_percent": round(100 * (waited - self._waited) / seconds, 2),
        }
        if self._flops:
            # The compiler counts one device's share.
            flops = self._flops * jax.device_count() * steps / seconds
            out["tflops"] = round(flops / 1e12, 4)
            if self._plan.peak_flops:
                out["peak_percent"] = round(100 * flops / self._plan.peak_flops, 2)
        self._rate = steps / seconds
        self._step, self._time, self._waited = step, now, waited
        return out

    def say(self, step: int, values: Mapping[str, float], timing: Mapping[str, float]) -> None:
        """One progress line."""
        shown = " ".join(
            f"{name} {values[name]:.3f}"
            for name in values
            if name not in ("stage", "grad_norm", "temperature")
        )
        logging.info(
            "step %d/%d %s  %.0f examples/s, %s left",
            step, self._total, shown, timing["examples_per_second"],
            clock((self._total - step) / self._rate),
        )  # fmt: skip
