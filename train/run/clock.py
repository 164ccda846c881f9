"""Timing of training steps, and of the time spent waiting for data.

On a CPU both are wall time. On a GPU the host runs ahead of the device, so the host's time for fetching a batch is not
meaningful; two CUDA events around the fetch measure how long the stream was idle between the previous step and the
batch. They are read once per lap, when the losses are read anyway, so timing adds no synchronisation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from . import ranks


@dataclass(frozen=True)
class Lap:
    """Timing of an interval of training."""

    samples: int = 0
    """Number of samples."""
    seconds: float = 0.0
    """Wall time."""
    waited: float = 0.0
    """Seconds in which the device waited for a batch."""

    def __add__(self, other: Lap) -> Lap:
        """Return the sum of two intervals."""
        return Lap(self.samples + other.samples, self.seconds + other.seconds, self.waited + other.waited)

    def __str__(self) -> str:
        """Return the rates as text; the interval must not be empty."""
        return f"{self.samples / self.seconds:.1f} samples/s, {self.waited / self.seconds:.1%} waiting for data"

    @property
    def rates(self) -> dict[str, float | None]:
        """Samples per second, and the fraction of time spent waiting for data; None for an empty interval."""
        if not self.seconds:
            return {"samples_per_s": None, "data_wait_share": None}
        return {"samples_per_s": self.samples / self.seconds, "data_wait_share": self.waited / self.seconds}


class Clock:
    """Measures laps and waiting times on one device."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Start a new lap and discard the current one."""
        self._waits: list[tuple[Any, Any]] = []
        self._samples = 0
        self._start = time.perf_counter()

    def fetch(self, batches: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the next batch and measure the wait for it."""
        before = self._mark()
        batch = next(batches)
        self._waits.append((before, self._mark()))
        self._samples += len(batch["sample"]) * ranks.count()
        return batch

    def lap(self) -> Lap:
        """Return the current lap and start the next. On a GPU, synchronise before calling it."""
        if self._cuda:
            waited = sum(before.elapsed_time(after) for before, after in self._waits) / 1000
        else:
            waited = sum(after - before for before, after in self._waits)
        lap = Lap(self._samples, time.perf_counter() - self._start, waited)
        self.restart()
        return lap

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
