import io
import json
import os
import time

import numpy as np
import pytest

from jaxreid.files import write_atomic, write_json, write_npz


def test_arrays_come_back_from_the_file_without_pickle(tmp_path):
    path = tmp_path / "new" / "rankings.npz"
    arrays = {
        "index": np.arange(6, dtype=np.int32).reshape(2, 3),
        "file": np.array(["a/1.png", "b/ü.png"]),
    }
    write_npz(path, arrays)
    with np.load(path, allow_pickle=False) as got:
        assert sorted(got) == ["file", "index"]
        np.testing.assert_array_equal(got["index"], arrays["index"])
        assert got["file"].tolist() == ["a/1.png", "b/ü.png"]


def test_equal_arrays_give_equal_files(tmp_path, monkeypatch):
    arrays = {"x": np.arange(5)}
    write_npz(tmp_path / "a.npz", arrays)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    write_npz(tmp_path / "b.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_written_files_are_readable_like_any_other(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    modes = [os.stat(tmp_path / name).st_mode for name in ("a/b/file", "plain")]
    assert modes[0] == modes[1]


def test_json_takes_numpy_and_refuses_nan_and_objects(tmp_path):
    path = tmp_path / "results.json"
    value = {"a": np.float32(0.5), "b": np.arange(2), "c": {"d": [1, None, "ü"]}}
    write_json(path, value)
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": {"d": [1, None, "ü"]}}
    with pytest.raises(ValueError, match=r"results\.json: cannot be written as JSON"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError, match="BytesIO has no JSON form"):
        write_json(path, {"a": io.BytesIO()})
    with pytest.raises(ValueError, match="array 'x' holds Python objects"):
        write_npz(tmp_path / "x.npz", {"x": np.array([None])})
    assert json.loads(path.read_text())["a"] == 0.5
