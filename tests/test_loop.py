"""The loop: what it does at which step, that it never waits, and how it stops."""

import functools
import json
import logging
import os
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.checkpoint import Checkpoints
from jaxreid.data.prefetch import device_batches
from jaxreid.loop import Interrupted, NotFinite, Plan, Stage, run_loop
from jaxreid.mesh import make_mesh, put_batch
from jaxreid.methods import Method
from jaxreid.runlog import TIMING, RunLog
from jaxreid.train import init_on_mesh, jit_train_step, restart_optimizer

ROWS = 8


def toy():
    """A linear fit; batches of `Numbers`."""

    def loss(params, memory, batch, rng, step, stage):
        error = batch["x"] @ params["w"] - 1
        return jnp.square(error).mean() + 0.1 * stage, (memory + 1, {"error": error.mean()})

    return Method(
        None, None, lambda rng: {"w": jax.random.normal(rng, (3,))}, loss, None, None, None,
        init_memory=lambda rng, params: jnp.int32(0),
    )  # fmt: skip


class Numbers:
    """Batches that are a function of their number; those in `bad` hold a NaN."""

    def __init__(self, bad=()):
        self.next, self.bad = 0, bad

    def __next__(self):
        number = self.next
        self.next += 1
        x = np.random.default_rng(number).normal(size=(ROWS, 3)).astype(np.float32)
        if number in self.bad:
            x[1, 1] = np.nan
        return {"x": x, "image_id": np.arange(ROWS, dtype=np.int32) + 100 * number}

    def get_state(self):
        return {"next": self.next}

    def close(self):
        pass


@pytest.fixture(scope="module")
def compiled():
    """Mesh, method, optimiser and the compiled step of two stages, made once."""
    mesh, method, tx = make_mesh(), toy(), optax.adam(0.05)
    state = init_on_mesh(method, tx, mesh, 0)
    batch = put_batch(mesh, next(Numbers()))
    steps = [
        jit_train_step(method, tx, mesh, stage).lower(state, batch).compile() for stage in (0, 1)
    ]
    return mesh, method, tx, steps


class Loop:
    """A run of 12 steps in two stages, the first of 5."""

    def __init__(self, compiled, folder, **changes):
        self.mesh, self.method, self.tx, steps = compiled
        self.folder, self.validated, self.compiles = folder, [], []
        self.scores = changes.pop("scores", lambda count: 50.0)
        self.during_step = changes.pop("during_step", lambda step: None)

        def compile(number):
            def make(state, batch):
                self.compiles.append(number)

                def run(state, batch):
                    self.during_step(self.step)
                    self.step += 1
                    return steps[number](state, batch)

                run.cost_analysis = steps[number].cost_analysis
                return run

            return make

        def restart(state):
            return restart_optimizer(state, self.tx, self.mesh)

        stages = (Stage(5, 0, compile(0), restart), Stage(12, 5, compile(1), restart))
        self.plan = Plan(
            **{
                "stages": stages, "log_every": 3, "evaluate_every": 6, "save_every": 4,
                "batch_size": ROWS, "peak_flops": None,
            } | changes
        )  # fmt: skip

    def checkpoints(self):
        return Checkpoints(os.path.join(self.folder, "checkpoints"), keep=20, best="R1")

    def validate(self, params):
        self.validated.append(self.step)
        return {"R1": self.scores(len(self.validated))}

    def run(self, source=None):
        """Starts or goes on; returns the last state."""
        checkpoints = self.checkpoints()
        state = init_on_mesh(self.method, self.tx, self.mesh, 0)
        source = source or Numbers()
        self.step = checkpoints.latest() or 0
        if self.step:
            state, position = checkpoints.restore(self.step, state)
            source.next = position["next"]
        log = RunLog(str(self.folder), resume_step=self.step, active=True)
        try:
            with device_batches(source, lambda b: put_batch(self.mesh, b)) as batches:
                return run_loop(
                    state, batches, self.plan,
                    checkpoints=checkpoints, log=log, validate=self.validate,
                )  # fmt: skip
        finally:
            log.close()
            checkpoints.close()

    def metrics(self, timing=False):
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [
            {k: v for k, v in json.loads(line).items() if timing or k not in TIMING}
            for line in lines
        ]

    def saved(self):
        return sorted(int(n) for n in os.listdir(self.folder / "checkpoints") if n.isdigit())


def numbers(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def same(one, two):
    for a, b in zip(numbers(one), numbers(two), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(compiled, tmp_path_factory):
    """A run without a break, and its last state."""
    loop = Loop(compiled, tmp_path_factory.mktemp("whole"))
    return loop, loop.run()


def test_steps_are_logged_evaluated_and_saved_when_planned(whole):
    loop, state = whole
    assert [line["step"] for line in loop.metrics() if "loss" in line] == [3, 6, 9, 12]
    assert [line["step"] for line in loop.metrics() if "val/R1" in line] == [6, 12]
    assert loop.validated == [6, 12]
    assert loop.saved() == [4, 6, 8, 12]
    assert int(state.step) == int(state.memory) == 12


def test_each_stage_is_compiled_once_and_named_in_its_lines(whole):
    loop, _ = whole
    assert loop.compiles == [0, 1]
    assert [line["stage"] for line in loop.metrics() if "loss" in line] == [1, 2, 2, 2]


def test_a_stage_begins_with_a_fresh_optimiser(whole):
    _, state = whole
    assert int(state.opt_state[0].count) == 7


def test_lines_stand_in_the_order_of_steps_with_validation_last(whole):
    loop, _ = whole
    assert [(line["step"], "loss" in line) for line in loop.metrics()] == [
        (3, True), (6, True), (6, False), (9, True), (12, True), (12, False),
    ]  # fmt: skip


def test_timing_has_rate_wait_and_work_and_a_share_of_the_peak_only_where_known(
    compiled, whole, tmp_path
):
    known = Loop(compiled, tmp_path, peak_flops=1e12)
    known.run()
    for loop, peak in ((whole[0], False), (known, True)):
        lines = [line for line in loop.metrics(timing=True) if "loss" in line]
        for line in lines:
            assert line["seconds"] > 0
            assert line["examples_per_second"] > 0
            assert 0 <= line["data_wait_percent"] <= 100
            assert line["tflops"] >= 0
            assert ("peak_percent" in line) == peak
    assert set(TIMING) == {
        "seconds", "examples_per_second", "data_wait_percent", "tflops", "peak_percent",
    }  # fmt: skip


def test_a_progress_line_has_the_step_the_rate_and_the_time_left(compiled, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        Loop(compiled, tmp_path).run()
    said = [r.getMessage() for r in caplog.records if "examples/s" in r.getMessage()]
    assert len(said) == 4
    assert said[0].startswith("step 3/12 error ")
    assert said[0].endswith(" left")
    assert said[-1].endswith(", 0:00 left")


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGTERM), (4, signal.SIGINT), (5, signal.SIGTERM), (6, signal.SIGINT)],
)
def test_a_signal_saves_its_step_and_going_on_changes_nothing(
    compiled, whole, tmp_path, step, number
):
    def send(done):
        if done == step - 1:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped by {number.name} at step {step}, saved") as e:
        Loop(compiled, tmp_path, during_step=send).run()
    assert e.value.signum == number
    assert signal.getsignal(number) is before
    after = Loop(compiled, tmp_path)
    assert after.saved()[-1] == step
    state = after.run()
    same(state, whole[1])
    assert after.metrics() == whole[0].metrics()
    assert after.checkpoints().best() == whole[0].checkpoints().best() == 6  # of equals


def test_after_the_first_signal_the_second_is_left_to_the_system(compiled, tmp_path):
    handlers = []

    def send(done):
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            handlers.extend(signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT))

    with pytest.raises(Interrupted):
        Loop(compiled, tmp_path, during_step=send).run()
    assert handlers == [signal.SIG_DFL, signal.SIG_DFL]


def test_a_run_that_is_done_does_nothing_more(compiled, whole):
    loop = Loop(compiled, whole[0].folder)
    before = loop.metrics(timing=True)
    same(loop.run(), whole[1])
    assert loop.compiles == loop.validated == []
    assert loop.metrics(timing=True) == before


def test_a_run_stops_after_a_stage_and_goes_on_from_there(compiled, whole, tmp_path):
    first = Loop(compiled, tmp_path, stop=5)
    assert int(first.run().step) == 5
    assert first.saved() == [4, 5]
    second = Loop(compiled, tmp_path)
    same(second.run(), whole[1])
    assert second.metrics() == whole[0].metrics()


@pytest.mark.parametrize("bad", [(2,), (4, 5), (11,)])
def test_single_batches_that_are_not_finite_are_counted_and_passed_over(compiled, tmp_path, bad):
    loop = Loop(compiled, tmp_path)
    state = loop.run(Numbers(bad=bad))
    assert int(state.step) == 12
    assert int(state.memory) == 12 - len(bad)
    lines = [line for line in loop.metrics() if "stage" in line]
    assert [line.get("skipped", 0) for line in lines] == [
        sum(number < line["step"] for number in bad) for line in lines
    ]
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize(
    ("first", "log_every"), [(0, 1), (0, 3), (1, 3), (4, 3), (6, 3), (1, 100), (9, 100)]
)
def test_three_in_a_row_stop_the_run_with_their_steps_and_images(
    compiled, tmp_path, first, log_every
):
    bad = (first, first + 1, first + 2)
    loop = Loop(compiled, tmp_path, log_every=log_every)
    with pytest.raises(NotFinite) as caught:
        loop.run(Numbers(bad=bad))
    message = str(caught.value)
    assert f"3 batches in a row, from step {first + 1}: " in message
    for number in bad:
        images = ", ".join(str(100 * number + row) for row in range(ROWS))
        assert f"step {number + 1}: images {images}" in message
    assert message.count("images") == 3
    # Nothing was saved after the state froze.
    assert all(step < first + 3 for step in loop.saved())


def test_batches_from_before_a_resume_are_said_to_be(compiled, tmp_path):
    def send(done):
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    source = {"bad": (6, 7, 8)}
    with pytest.raises(Interrupted):
        Loop(compiled, tmp_path, during_step=send).run(Numbers(**source))
    with pytest.raises(NotFinite, match="step 7: read before the run was resumed; step 8: images"):
        Loop(compiled, tmp_path).run(Numbers(**source))


def test_the_loop_moves_nothing_to_or_from_the_devices_by_itself(compiled, tmp_path):
    guards = []

    def watch(done):
        guards.append(jax.config.jax_transfer_guard_device_to_host)

    loop = Loop(compiled, tmp_path, during_step=watch, log_every=4)
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="isallowed"):
        jnp.ones(3) + np.ones(3)  # the guard is alive
    state = init_on_mesh(loop.method, loop.tx, loop.mesh, 0)
    log = RunLog(str(tmp_path), resume_step=0, active=True)
    loop.step = 0
    put = functools.partial(put_batch, loop.mesh)
    with device_batches(Numbers(), put) as batches, jax.transfer_guard("disallow"):
        run_loop(
            state, batches, loop.plan,
            checkpoints=types.SimpleNamespace(save=lambda *a, **k: None, wait=lambda: None),
            log=log, validate=loop.validate,
        )  # fmt: skip
    log.close()
    assert guards == ["disallow"] * 12


class Lazy:
    """A metric that notes when it is fetched."""

    def __init__(self, step, fetched, done):
        self.step, self.fetched, self.done = step, fetched, done

    def __array__(self, dtype=None, copy=None):
        self.fetched.append((self.step, self.done[0]))
        return np.zeros((), dtype or np.float32)


def test_metrics_are_fetched_only_if_logged_and_after_the_next_step_was_sent(tmp_path):
    fetched, done = [], [0]

    def compile(state, batch):
        def run(state, batch):
            done[0] += 1
            names = ("loss", "nonfinite", "skipped")
            return state, {name: Lazy(done[0], fetched, done) for name in names}

        return run

    state = types.SimpleNamespace(step=0, params=None, nonfinite=np.int32(0))
    plan = Plan((Stage(10, 0, compile, None),), 4, 100, 100, ROWS, None)
    log = RunLog(str(tmp_path), resume_step=0, active=True)

    class Batches:
        wait_seconds = 0.0

        def __next__(self):
            return {"image_id": np.zeros(1)}

        def get_state(self):
            return {}

    run_loop(
        state, Batches(), plan,
        checkpoints=types.SimpleNamespace(save=lambda *a, **k: None, wait=lambda: None),
        log=log, validate=lambda params: {"R1": 1.0},
    )  # fmt: skip
    log.close()
    # Step 4 is read when step 5 is under way; the last has none after it.
    assert set(fetched) == {(4, 5), (8, 9), (10, 10)}
