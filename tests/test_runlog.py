"""metrics.jsonl, TensorBoard and progress: whole, valid, and continued where a run goes on."""

import errno
import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from jaxreid.runlog import RunLog, clock


def opened(folder, resume_step=0, active=True):
    return RunLog(str(folder), resume_step=resume_step, active=active)


def lines(folder):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def events(folder):
    """(step, name, value) of every scalar, by the record format of TensorBoard."""
    found = []
    for file in sorted((folder / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
            data = data[16 + length :]
    return found


def test_a_line_is_on_disk_at_once_and_is_what_was_given(tmp_path):
    log = opened(tmp_path)
    log.write(3, {"loss": 1.25, "stage": 1})
    log.write(3, {"val/R1": 40.0})
    assert lines(tmp_path) == [{"step": 3, "loss": 1.25, "stage": 1}, {"step": 3, "val/R1": 40.0}]
    log.close()


def test_tensorboard_has_the_same_numbers(tmp_path):
    log = opened(tmp_path)
    log.write(3, {"loss": 1.25, "stage": 1})
    log.write(5, {"val/R1": 40.0})
    log.close()
    assert events(tmp_path) == [(3, "loss", 1.25), (3, "stage", 1.0), (5, "val/R1", 40.0)]


def test_what_json_cannot_say_is_null(tmp_path):
    log = opened(tmp_path)
    log.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "itc": 2.0})
    log.close()
    assert lines(tmp_path) == [{"step": 1, "loss": None, "grad_norm": None, "itc": 2.0}]
    assert events(tmp_path) == [(1, "itc", 2.0)]


@pytest.mark.parametrize("torn", ["", '{"step": 4, "lo', '{"step": 4}', "\0\0\0"])
def test_going_on_keeps_the_lines_up_to_the_step_and_drops_a_torn_one(tmp_path, torn):
    log = opened(tmp_path)
    for step in (2, 4, 6):
        log.write(step, {"loss": step / 2})
    log.write(4, {"val/R1": 1.0})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(torn)
    log = opened(tmp_path, resume_step=4)
    log.write(6, {"loss": 7.0})
    log.close()
    assert [(line["step"], line.get("loss")) for line in lines(tmp_path)] == [
        (2, 1.0), (4, 2.0), (4, None), (6, 7.0),
    ]  # fmt: skip


def test_a_new_run_starts_with_an_empty_file(tmp_path):
    log = opened(tmp_path)
    log.write(2, {"loss": 1.0})
    log.close()
    opened(tmp_path).close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_other_processes_write_nothing(tmp_path):
    log = opened(tmp_path, active=False)
    log.write(1, {"loss": 1.0})
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path):
    log = opened(tmp_path)
    log._file.close()
    log._file = open("/dev/full", "w", buffering=1)  # noqa: SIM115, closed by the log
    with pytest.raises(OSError, match="/dev/full") as caught:
        log.write(1, {"loss": 1.0})
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03"), (-3, "0:00")],
)
def test_time_is_shown_as_on_a_clock(seconds, text):
    assert clock(seconds) == text
