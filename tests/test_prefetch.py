import threading
import time

import pytest

from jaxreid.data.prefetch import AHEAD, device_batches


class Counter:
    """Counts to `end`, then stops or fails; its state is the next number."""

    def __init__(self, end=100, error=None):
        self.next, self.end, self.error = 0, end, error
        self.closed = 0

    def __next__(self):
        if self.next == self.end:
            raise self.error or StopIteration
        self.next += 1
        return self.next - 1

    def get_state(self):
        return {"next": self.next}

    def close(self):
        self.closed += 1


def wait_until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def threads():
    return [t for t in threading.enumerate() if t.name == "device-batches"]


def test_batches_come_in_order_through_put():
    with device_batches(Counter(20), lambda n: n * 10) as batches:
        assert list(batches) == list(range(0, 200, 10))
        with pytest.raises(StopIteration):
            next(batches)


def test_state_is_of_the_batch_handed_out():
    source = Counter()
    with device_batches(source, lambda n: n) as batches:
        assert batches.get_state() == {"next": 0}
        for n in range(5):
            assert next(batches) == n
            wait_until(lambda n=n: source.next > n + 2)  # the source is ahead
            assert batches.get_state() == {"next": n + 1}


def test_two_batches_are_on_the_device_ahead():
    done = []
    with device_batches(Counter(), done.append) as batches:
        for taken in range(4):
            wait_until(lambda taken=taken: len(done) == taken + AHEAD)
            time.sleep(0.02)
            assert len(done) == taken + AHEAD
            next(batches)
    assert AHEAD == 2


def test_errors_reach_the_consumer_after_the_batches_before_them():
    failure = OSError("unreadable")
    with device_batches(Counter(3, failure), lambda n: n) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(OSError, match="unreadable") as caught:
                next(batches)
            assert caught.value is failure
        assert batches.get_state() == {"next": 3}


def test_errors_of_put_reach_the_consumer():
    with device_batches(Counter(), lambda n: 1 // (2 - n)) as batches:
        assert [next(batches), next(batches)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(batches)


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_close_stops_the_thread_and_the_source(taken):
    source = Counter(6)
    batches = device_batches(source, lambda n: n)
    for _ in range(taken):
        next(batches, None)
    assert batches._thread in threads() or taken == 7
    batches.close()
    batches.close()
    assert batches._thread not in threads()
    assert source.closed
    if taken < 6:
        with pytest.raises(ValueError, match="closed"):
            next(batches)


def test_waiting_is_measured():
    def slow(n):
        time.sleep(0.05)
        return n

    with device_batches(Counter(), slow) as batches:
        assert batches.wait_seconds == 0
        for _ in range(4):
            next(batches)
        assert batches.wait_seconds > 0.15
    with device_batches(Counter(), lambda n: n) as batches:
        next(batches)
        for _ in range(4):
            time.sleep(0.02)
            before = batches.wait_seconds
            next(batches)
            assert batches.wait_seconds - before < 0.01
