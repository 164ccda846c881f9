"""Test reading ahead in a thread: order of results and errors."""

import threading
import time
from itertools import count

import pytest

from dali_cr.pipeline.threads import Ahead


def test_results_come_in_order_and_ahead() -> None:
    numbers = count()
    ahead = Ahead(lambda: next(numbers), 2)
    assert next(numbers) == 0  # nothing was computed before the first request
    assert [ahead.take() for _ in range(5)] == [1, 2, 3, 4, 5]
    until = time.monotonic() + 10
    while numbers.__reduce__()[1][0] < 9 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert next(numbers) == 9  # two are ready, a third waits for space
    assert ahead.close()


def test_an_error_comes_after_the_results_before_it() -> None:
    numbers = count()

    def make() -> int:
        if (number := next(numbers)) == 3:
            raise KeyError("three")
        return number

    ahead = Ahead(make, 5)
    assert [ahead.take() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        ahead.take()
    assert ahead.close()


def test_close_returns_whether_the_thread_hangs() -> None:
    begun, go = threading.Event(), threading.Event()
    ahead = Ahead(lambda: (begun.set(), go.wait()), 1)
    asking = threading.Thread(target=ahead.take, daemon=True)
    asking.start()
    assert begun.wait(60)
    assert not ahead.close(patience=0.1)
    go.set()
    assert ahead.close()


def test_close_without_a_take() -> None:
    assert Ahead(int, 1).close()
