"""Emulated accelerator that needs a fixed time for each batch and no CPU.

Its utilisation is the fraction of wall time that it works, as defined by MLPerf Storage. The shortest step time with a
utilisation of 0.98 shows which GPUs a loader keeps busy on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

GOAL = 0.98
"""Utilisation at which the accelerator counts as busy."""

_LEAST = 20
"""Minimum number of batches of a measurement."""

_WARM = 8
"""Warm-up batches, more than are prefetched."""

_PRECISION = 0.05
"""Relative width of the bracket at which the search ends."""

_GROWTH = 1.5
"""Factor between step times until one is long enough."""

_LIMIT = 32
"""Longest step time of the search, as a multiple of the loader's time per batch."""

Batches = Iterator[Any]


def utilisation(batches: Batches, step: float, seconds: float) -> float:
    """Return the utilisation of an accelerator that needs `step` seconds per batch.

    Parameters
    ----------
    batches : iterator
    step : float
        Step time in seconds.
    seconds : float
        Approximate duration of the measurement.
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
    """Return the seconds per batch without an accelerator."""
    for _ in range(_WARM):
        next(batches)
    start = time.perf_counter()
    for number in count(1):
        next(batches)
        spent = time.perf_counter() - start
        if number >= _LEAST and spent >= seconds:
            return spent / number
    raise AssertionError("unreachable")


def shortest_step(batches: Batches, seconds: float, log: Callable[[str], object]) -> dict[str, Any]:
    """Search for the shortest step time at which the accelerator is busy.

    Parameters
    ----------
    batches : iterator
    seconds : float
        Duration of each measurement.
    log : callable
        Called with a line about each measurement.

    Returns
    -------
    dict
        flat_out_s; shortest_step_s, None if no step time up to `_LIMIT` times flat_out_s was long enough; curve, the
        measured pairs of step time and utilisation.
    """
    idle = flat_out(batches, seconds)
    log(f"flat out {1000 * idle:.2f} ms a batch")
    curve: list[tuple[float, float]] = []

    def busy(step: float) -> bool:
        curve.append((step, utilisation(batches, step, seconds)))
        log(f"step {1000 * step:.2f} ms: {curve[-1][1]:.3f}")
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
    """Sleep for a step and return its duration, since the system may wake the process late."""
    start = time.perf_counter()
    time.sleep(step)
    return time.perf_counter() - start
