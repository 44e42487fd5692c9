"""Files of torch.save, TorchScript and safetensors, read without torch; hostile ones refused.

tests/goldens/reader.npz: files that PyTorch wrote, with their values (tools/goldens_reader.py).
"""

import builtins
import os
import pathlib
import resource
import struct
import zlib

import ml_dtypes
import numpy as np
import pytest
from hostile_weights import GOOD, HOSTILE, archive, legacy, named, tensor

from jaxreid.weights import pickle_machine, state_dict
from jaxreid.weights.torch_file import read_torch

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "reader.npz"
LAYOUTS = ("zip", "zip_protocol4", "legacy", "safetensors", "no_checksum")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def honest(golden, tmp_path_factory):
    """honest(name) -> path of a file that PyTorch wrote."""
    folder = tmp_path_factory.mktemp("honest")

    def path(name: str) -> str:
        (folder / name).write_bytes(golden[f"file/{name}"].tobytes())
        return str(folder / name)

    return path


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array


def assert_same(state: dict, golden: dict, kind: str) -> None:
    wanted = {n.removeprefix(kind): a for n, a in golden.items() if n.startswith(kind)}
    assert set(state) == set(wanted)
    for name, want in wanted.items():
        got = bits(state[name])
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        np.testing.assert_array_equal(got, want, err_msg=name)


# What PyTorch writes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_of_every_kind_are_those_of_pytorch(golden, honest, layout):
    state = state_dict.read(honest(layout))
    assert_same(state, golden, "want/")
    assert state["bfloat16"].dtype == ml_dtypes.bfloat16
    assert not any(array.flags.writeable for array in state.values() if array.size)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_tensors_that_share_memory_share_it(honest, layout):
    state = state_dict.read(honest(layout))
    assert np.shares_memory(state["shared_first"], state["shared_again"])
    assert np.shares_memory(state["slice"], state["shared_again"])
    assert not np.shares_memory(state["float32"], state["shared_first"])


@pytest.mark.parametrize("layout", ["checkpoint", "legacy_checkpoint"])
def test_a_checkpoint_holds_what_was_saved_beside_the_weights(golden, honest, layout):
    found = read_torch(honest(layout))
    state = found.pop("model")
    assert {f"want/{name}" for name in state} >= {n for n in golden if n.startswith("want/")}
    optimizer = found.pop("optimizer")
    assert optimizer["param_groups"][0]["lr"] == 0.25
    assert optimizer["state"][0]["exp_avg"].shape == (2, 3)
    assert found.pop("lr_scheduler")["step_size"] == 2
    array = found.pop("array")
    np.testing.assert_array_equal(array, np.arange(6, dtype=np.int32).reshape(2, 3).T)
    assert found == {
        "config": {"image_res": 384, "files": ["a.json", "b.json"], "sizes": (1, (2.5, None))},
        "args": {"seed": 3, "distributed": False, "names": {"x"}, "nested": {1: "one"}},
        "epoch": 4,
        "counts": {"a": 1},
        "best": 0.625,
        "raw": b"\x00\xff raw",
        "large": 2**70,
        "size": (2, 3),
        "dtype": found["dtype"],
        "device": "cpu",
        "complex": 1 - 2j,
        "frozen": {1, 2},
        "text": "Größe",
    }
    inside = state_dict.read(honest(layout))
    assert {"0.weight", "1.running_mean", "1.num_batches_tracked"} < set(inside)
    assert_same({k: v for k, v in inside.items() if f"want/{k}" in golden}, golden, "want/")


def test_modules_of_torchscript_are_read_as_names_with_dots(golden, honest):
    state = state_dict.read(honest("script"))
    assert_same(state, golden, "script/")
    assert state["blocks.1.proj"].dtype == np.float16
    assert state["input_resolution"].shape == ()


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("sparse", "a sparse tensor"),
        ("quantised", "a quantised tensor"),
        ("meta", "a meta tensor, which has no values"),
    ],
)
def test_tensors_without_plain_values_are_refused_by_name(honest, layout, message):
    with pytest.raises(ValueError, match=rf"{layout} holds {message} \(torch\._utils\._rebuild_"):
        state_dict.read(honest(layout))


# Hostile files


@pytest.fixture(scope="module")
def canary():
    """Fails the module if a hostile file ran anything, or if reading them took gigabytes."""
    real = eval

    def evaluate(*arguments):
        ran.extend(arguments[:1] if arguments[0] == "true" else [])
        return real(*arguments)

    ran, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "system", lambda *arguments: ran.append(arguments))
        patch.setattr(builtins, "eval", evaluate)
        yield
    assert ran == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence_that_names_it(tmp_path, canary, name):
    data, message = HOSTILE[name]
    path = tmp_path / f"{name}.pth"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        state_dict.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path} ")
    assert "\n" not in text
    assert len(text) < 400 + len(str(path))


def test_the_file_that_the_hostile_ones_are_made_of_is_read(tmp_path):
    for data in (GOOD, legacy(named(tensor()))):
        path = tmp_path / "good.pth"
        path.write_bytes(data)
        assert state_dict.read(path)["weight"].tolist() == [0, 0]


def test_a_pickle_may_ask_for_no_more_operations_than_allowed(tmp_path, monkeypatch):
    path = tmp_path / "good.pth"
    path.write_bytes(GOOD)
    monkeypatch.setattr(pickle_machine, "_MOST_STEPS", 10)
    with pytest.raises(ValueError, match="more than 10 operations to be read: refused"):
        state_dict.read(path)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*/none\.pth"):
        state_dict.read(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="is a folder, not a file of weights"):
        state_dict.read(tmp_path)


@pytest.mark.parametrize("layout", ["zip", "legacy", "script", "safetensors"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(golden, tmp_path, layout):
    data, rng = golden[f"file/{layout}"], np.random.default_rng(zlib.crc32(layout.encode()))
    path, refused = tmp_path / "damaged.pth", []
    for trial in range(60):
        damaged = data.copy()
        places = rng.integers(0, len(data), size=1 + trial % 3)
        damaged[places] = rng.integers(0, 256, size=len(places))
        path.write_bytes(damaged[: rng.integers(1, len(data))] if trial % 4 == 0 else damaged)
        try:
            state_dict.read(path)
        except ValueError as error:
            refused.append(str(error).startswith(str(path)))
    assert all(refused)
    assert len(refused) >= 15


# Finding the state_dict in a file


def saved(tmp_path, pickled: bytes):
    path = tmp_path / "some.pth"
    path.write_bytes(archive(pickled))
    return path


def wrapped(*names: bytes, key: bytes = b"weight") -> bytes:
    """A pickle of dicts inside each other, the innermost with a tensor."""
    value = named(tensor(), key)[2:-1]
    for name in reversed(names):
        value = named(value, name)[2:-1]
    return b"\x80\x02" + value + b"."


@pytest.mark.parametrize("names", [(), (b"model",), (b"state_dict",), (b"model", b"state_dict")])
@pytest.mark.parametrize("prefix", [b"", b"module.", b"model.", b"module.model."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, names, prefix):
    path = saved(tmp_path, wrapped(*names, key=prefix + b"a.weight"))
    assert list(state_dict.read(path)) == ["a.weight"]


def test_a_network_beside_the_model_keeps_its_name_in_front(tmp_path):
    """As Word4Per saves its network for words."""
    model, words = (
        named(tensor(), key)[2:-1] for key in (b"module.a.weight", b"module.fc_out.weight")
    )
    items = b"X\x05\x00\x00\x00model" + model + b"X\x08\x00\x00\x00img2text" + words
    path = saved(tmp_path, b"\x80\x02}(" + items + b"X\x05\x00\x00\x00epochK\x01u.")
    assert list(state_dict.read(path)) == ["a.weight", "img2text.fc_out.weight"]


def test_a_prefix_that_some_names_lack_stays():
    state = {"module.a": np.ones(1), "b": np.zeros(1)}
    assert state_dict.strip_prefixes(state) == state


def test_another_wrapper_can_be_asked_for(tmp_path):
    path = saved(tmp_path, wrapped(b"state_dict_img2text"))
    with pytest.raises(ValueError, match="holds a dict under 'state_dict_img2text': no state_dict"):
        state_dict.read(path)
    assert list(state_dict.read(path, ("state_dict_img2text",))) == ["weight"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"K\x01", "holds an int, not a state_dict"),
        (b"}", "holds an empty dict, not a state_dict"),
        (tensor(), "holds one tensor, not a state_dict"),
        (b"}K\x01" + tensor() + b"s", "keys are no names"),
        (b"}X\x05\x00\x00\x00epochK\x01s", "holds an int under 'epoch'"),
    ],
)
def test_a_file_without_a_state_dict_is_told_what_it_holds(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        state_dict.read(saved(tmp_path, b"\x80\x02" + value + b"."))


def test_listing_the_names_of_a_large_file_reads_little_of_it(tmp_path):
    """Storages of 8 GB, of which the disk holds next to nothing."""
    size = 2**33
    path = tmp_path / "large.pth"
    pickled = named(tensor(count=size // 4, shape=(size // 4,)))
    keys = b"\x80\x02](X\x01\x00\x00\x000e."
    start = legacy(pickled, keys, struct.pack("<q", size // 4))
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert state_dict.read(path)["weight"].shape == (size // 4,)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
