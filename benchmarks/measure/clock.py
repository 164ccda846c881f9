"""Timing of functions and of memory copies on a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dali_cr.ops.gpu import launch

_REPEATS = 50
_LEAST = 5
"""Minimum number of timings, for percentiles."""

_FLUSH_BYTES = 512 << 20
"""Larger than the L2 cache of any GPU; overwritten before each timing to flush the cache."""


class HostClock:
    """Wall time on the CPU in one thread; CPU caches are not flushed."""

    def __init__(self) -> None:
        self.arrays: Any = np

    def asarray(self, array: Any) -> Any:
        """Return an array on the device."""
        return array

    def asnumpy(self, array: Any) -> Any:
        """Return an array on the host."""
        return np.asarray(array)

    def time(self, function: Callable[[], object], seconds: float) -> list[float]:
        """Return the seconds of repeated calls, for about `seconds` in total, after one untimed call."""
        function()
        timings: list[float] = []
        end = time.perf_counter() + seconds
        while len(timings) < _LEAST or (len(timings) < _REPEATS and time.perf_counter() < end):
            start = time.perf_counter()
            function()
            timings.append(time.perf_counter() - start)
        return timings

    def copy(self, moved: int, seconds: float) -> list[float]:
        """Return the timings of a copy that moves a number of bytes, half of them read and half written."""
        source = self.arrays.zeros(max(1, moved // 2), np.uint8)
        target = self.arrays.ones_like(source)
        return self.time(lambda: self.arrays.copyto(target, source), seconds)


class GpuClock(HostClock):
    """GPU time by CUDA events. Before each timing the L2 cache is flushed, which also hides the launch latency."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays = launch.array_module()
        self._flush = self.arrays.empty(_FLUSH_BYTES, np.uint8)

    def asarray(self, array: Any) -> Any:
        """Return an array on the GPU."""
        return self.arrays.asarray(array)

    def asnumpy(self, array: Any) -> Any:
        """Return an array on the host."""
        return self.arrays.asnumpy(array)

    def time(self, function: Callable[[], object], seconds: float) -> list[float]:
        """Return the GPU seconds of repeated calls; see `HostClock.time`."""
        cuda = self.arrays.cuda
        timings: list[float] = []
        function()
        end = time.perf_counter() + seconds
        while len(timings) < _LEAST or (len(timings) < _REPEATS and time.perf_counter() < end):
            self._flush.fill(len(timings) & 0xFF)
            before, after = cuda.Event(), cuda.Event()
            before.record()
            function()
            after.record()
            after.synchronize()
            timings.append(cuda.get_elapsed_time(before, after) / 1000)
        return timings


def open_clock(device: str) -> HostClock:
    """Return the clock of a device.

    Raises
    ------
    ImportError
        If the device is "cuda" and CuPy is missing.
    """
    return GpuClock() if device == "cuda" else HostClock()
