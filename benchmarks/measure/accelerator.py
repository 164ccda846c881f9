"""An emulated accelerator: it takes a batch, then needs a fixed time for it, in which it uses no CPU.

Its utilisation is the share of the wall time that it works, as MLPerf Storage defines it. Asked of a loader, the
shortest step time at which it is still 0.98 says which real GPUs the loader keeps busy on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

GOAL = 0.98
"""Utilisation that counts as busy."""

_LEAST = 20
"""Batches a measurement has at least."""

_WARM = 8
"""Batches taken before: more than are kept ready, so that what was made in advance is gone."""

_PRECISION = 0.05
"""The search ends when the bracket is narrower than this share of the step time."""

_GROWTH = 1.5
"""From one step time to the next, until one is long enough."""

_LIMIT = 32
"""A loader that cannot feed a step this many times as long as a batch takes it has another problem than speed."""

Batches = Iterator[Any]


def utilisation(batches: Batches, step: float, seconds: float) -> float:
    """Return the share of the time an accelerator works that needs `step` seconds a batch.

    Parameters
    ----------
    batches : iterator
    step : float
        Seconds.
    seconds : float
        Of measuring, about.
    """
    for _ in range(_WARM):
        next(batches)
        _work(step)
    start, worked = time.perf_counter(), 0.0
    for number in count(1):
        next(batches)
        worked += _work(step)
        if number >= _LEAST and time.perf_counter() - start >= seconds:
            break
    return worked / (time.perf_counter() - start)


def flat_out(batches: Batches, seconds: float) -> float:
    """Return the seconds a batch takes when nothing is done with it."""
    for _ in range(_WARM):
        next(batches)
    start = time.perf_counter()
    for number in count(1):
        next(batches)
        spent = time.perf_counter() - start
        if number >= _LEAST and spent >= seconds:
            return spent / number
    raise AssertionError("count() ends never")


def shortest_step(batches: Batches, seconds: float, tell: Callable[[str], object]) -> dict[str, Any]:
    """Search the shortest step time at which the accelerator is busy.

    Parameters
    ----------
    batches : iterator
    seconds : float
        Of each measurement.
    tell : callable
        Takes a line about each measurement.

    Returns
    -------
    dict
        flat_out_s; shortest_step_s, or None where no step up to `_LIMIT` times that was long enough; curve, the
        measured pairs of step time and utilisation.
    """
    idle = flat_out(batches, seconds)
    tell(f"flat out {1000 * idle:.2f} ms a batch")
    curve: list[tuple[float, float]] = []

    def busy(step: float) -> bool:
        curve.append((step, utilisation(batches, step, seconds)))
        tell(f"step {1000 * step:.2f} ms: {curve[-1][1]:.3f}")
        return curve[-1][1] >= GOAL

    low, high = idle / _GROWTH, idle
    while not busy(high):
        low, high = high, _GROWTH * high
        if high > _LIMIT * idle:
            return {"flat_out_s": idle, "shortest_step_s": None, "curve": curve}
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if busy(middle) else (middle, high)
    return {"flat_out_s": idle, "shortest_step_s": high, "curve": curve}


def _work(step: float) -> float:
    """Sleep for a step and return how long it took: the system may wake the process late."""
    start = time.perf_counter()
    time.sleep(step)
    return time.perf_counter() - start
