"""Checkpoints: what is kept, what a reader gets, and what a fault says and leaves."""

import errno
import os
import resource
import shutil
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.checkpoint import Checkpoints, config_difference
from jaxreid.mesh import make_mesh, put_replicated, replicated


@flax.struct.dataclass
class State:
    """The shape of a train state."""

    step: jax.Array
    params: Any
    opt_state: Any


def state(seed):
    rng = np.random.default_rng(seed)
    return State(
        jnp.int32(seed),
        {"net": {"w": jnp.asarray(rng.normal(size=(60, 7)), jnp.float32)}, "t": jnp.float32(seed)},
        ({"mu": jnp.asarray(rng.normal(size=(60, 7)), jnp.bfloat16)}, jnp.int32(3)),
    )


def opened(folder, **changes):
    return Checkpoints(str(folder), **{"keep": 1, "best": "R1"} | changes)


def equal(one, two):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), one, two)


def steps(folder):
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def save(folder, scores, **changes):
    """Saves a step for each score (None: not evaluated), each in a process of its own."""
    for step, score in scores.items():
        checkpoints = opened(folder, **changes)
        checkpoints.save(
            step, state(step), {"step": step}, None if score is None else {"R1": score}, wait=True
        )
        checkpoints.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with steps 1 (best) and 2."""
    folder = tmp_path_factory.mktemp("two")
    save(folder, {1: 50.0, 2: 40.0})
    return folder


def test_state_and_data_position_come_back_bit_equal_with_their_dtypes(two):
    checkpoints = opened(two)
    restored, position = checkpoints.restore(2, state(0))
    equal(restored, state(2))
    assert position == {"step": 2}
    assert restored.opt_state[0]["mu"].dtype == jnp.bfloat16
    assert isinstance(restored, State)


def test_a_state_goes_to_the_devices_that_the_template_names(two):
    mesh = make_mesh()
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), state(0)
    )
    restored, _ = opened(two).restore(2, template)
    assert all(leaf.sharding == replicated(mesh) for leaf in jax.tree.leaves(restored))
    params = opened(two).restore_params(2, template.params)
    assert all(leaf.sharding == replicated(mesh) for leaf in jax.tree.leaves(params))
    equal(params, state(2).params)


def test_parameters_are_read_without_the_rest(two, tmp_path):
    params = opened(two).restore_params(1, state(0).params)
    equal(params, state(1).params)


def test_the_best_is_kept_besides_the_latest_over_processes(tmp_path):
    save(tmp_path, {1: 30.0, 2: 60.0, 3: None, 4: 50.0, 5: None})
    assert steps(tmp_path) == [2, 5]
    checkpoints = opened(tmp_path)
    assert (checkpoints.latest(), checkpoints.best()) == (5, 2)


def test_of_equal_scores_the_first_is_kept_and_named(tmp_path):
    save(tmp_path, {1: 10.0, 2: 60.0, 3: None, 4: 60.0, 5: 60.0, 6: 20.0})
    assert steps(tmp_path) == [2, 6]
    assert opened(tmp_path).best() == 2


def test_a_run_with_scores_can_be_opened_for_its_last_step(two):
    reader = opened(two, best="last", read_only=True)
    assert reader.best() == 2
    reader.close()


def test_without_any_score_the_latest_is_the_best(tmp_path):
    assert opened(tmp_path).latest() is None
    assert opened(tmp_path).best() is None
    save(tmp_path, {1: None, 2: None})
    assert steps(tmp_path) == [2]
    assert opened(tmp_path).best() == 2
    save(tmp_path, {3: None, 4: 0.0, 5: 0.0}, keep=2)  # a score of 0 is a score
    assert steps(tmp_path) == [4, 5]
    assert opened(tmp_path).best() == 4


def test_as_many_of_the_latest_are_kept_as_asked(tmp_path):
    save(tmp_path, {1: 9.0, 2: 1.0, 3: 2.0, 4: 3.0}, keep=2)
    assert steps(tmp_path) == [1, 3, 4]


def test_half_written_checkpoints_are_cleared_but_not_by_a_reader(two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "run")
    half = folder / "3.orbax-checkpoint-tmp"
    shutil.copytree(folder / "2", half)
    reader = opened(folder, read_only=True)
    assert reader.latest() == 2
    equal(reader.restore_params(2, state(0).params), state(2).params)
    reader.close()
    assert half.exists()
    writer = opened(folder)
    assert writer.latest() == 2
    writer.save(3, state(3), {"step": 3}, wait=True)
    writer.close()
    assert not half.exists()
    assert steps(folder) == [1, 3]


def test_writing_behind_is_not_disturbed_by_steps_that_reuse_the_buffers(tmp_path):
    mesh = make_mesh()
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    live = put_replicated(mesh, {"params": {"w": jnp.zeros((500, 400))}})
    expected = {}
    checkpoints = opened(tmp_path, keep=3)
    for number in range(1, 31):
        live = step(live)
        if number % 10 == 0:
            checkpoints.save(number, live, {})
            expected[number] = float(number)
    checkpoints.wait()
    for number, value in expected.items():
        restored, _ = checkpoints.restore(number, live)
        np.testing.assert_array_equal(restored["params"]["w"], np.full((500, 400), value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"net": {"w": jnp.zeros((60, 8))}, "t": jnp.float32(0)},
            r"params/net/w is \(60, 7\) there and \(60, 8\) here",
        ),
        ({"net": {"w": jnp.zeros((60, 7))}}, r"params/t is \(\) there and absent here"),
        (
            {"net": {"v": jnp.zeros(2), "w": jnp.zeros((60, 7))}, "t": jnp.float32(0)},
            r"params/net/v is absent there and \(2,\) here",
        ),
    ],
)
def test_another_network_is_refused_with_the_first_parameter_and_both_shapes(two, change, message):
    message = rf"checkpoint {two}/1 is of another config: {message}"
    with pytest.raises(ValueError, match=message):
        opened(two).restore(1, state(0).replace(params=change))
    with pytest.raises(ValueError, match=message):
        opened(two).restore_params(1, change)


def newest_files(folder):
    """Files of step 2 without which it cannot be read, by a name that is the same every time."""
    whole = folder / "2"
    files = {
        "state/_METADATA": [whole / "state/_METADATA"],
        "data/metadata": [whole / "data/metadata"],
    }
    arrays = [*(whole / "state").glob("**/d/*"), *(whole / "state").glob("manifest.ocdbt")]
    return files | {"arrays": arrays}


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
@pytest.mark.parametrize("name", ["state/_METADATA", "data/metadata", "arrays"])
def test_a_damaged_checkpoint_is_named_with_the_one_before(two, tmp_path, name, damage):
    folder = shutil.copytree(two, tmp_path / "run")
    for file in newest_files(folder)[name]:
        content = file.read_bytes()
        if damage == "deleted":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=rf"{folder}/2 cannot be read; .* step 1: ") as caught:
        opened(folder).restore(2, state(0))
    assert len(str(caught.value)) < 500
    shutil.move(folder / "2", folder / "2.damaged")  # as the message says
    checkpoints = opened(folder)
    assert checkpoints.latest() == 1
    equal(checkpoints.restore(1, state(0))[0], state(1))


def test_damaged_metrics_are_named(two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "run")
    (folder / "2/metrics/metrics").write_text('{"R1": 4')
    with pytest.raises(OSError, match=rf"a checkpoint in {folder} is damaged"):
        opened(folder)


def test_a_save_that_fails_behind_names_the_folder_and_leaves_the_one_before(tmp_path):
    checkpoints = opened(tmp_path)
    checkpoints.save(1, state(1), {"step": 1}, {"R1": 1.0}, wait=True)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limit[1]))  # bytes; an array has more
    try:
        checkpoints.save(2, state(2), {"step": 2})
        with pytest.raises(OSError, match=rf"cannot be written in {tmp_path}: .*rror writing"):
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    after = opened(tmp_path)
    assert after.latest() == 1
    equal(after.restore(1, state(0))[0], state(1))
    after.save(2, state(2), {"step": 2}, wait=True)
    equal(opened(tmp_path).restore(2, state(0))[0], state(2))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # What tensorstore says on a full tmpfs.
        ValueError('RESOURCE_EXHAUSTED: Error writing "opt_state.0/0.0" in OCDBT database'),
    ],
)
def test_a_full_disk_is_said_as_such(tmp_path, monkeypatch, error):
    checkpoints = opened(tmp_path)

    def fail():
        raise RuntimeError("save failed") from error

    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
    with pytest.raises(OSError, match="no space left on the disk for a checkpoint") as caught:
        checkpoints.wait()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path)


def test_config_differences_are_listed_by_field():
    saved = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "only": True}
    given = {"a": 1, "b": {"c": (1, 2), "d": "y"}, "new": None, "other": 0}
    assert config_difference(saved, given) == [
        'b.d: "x" -> "y"', "only: true -> null", "other: null -> 0",
    ]  # fmt: skip
