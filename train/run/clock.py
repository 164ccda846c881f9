"""How long training took, and how much of it was spent waiting for data.

On a CPU both are read off the wall. On a GPU the host runs ahead, so the time it spends fetching a batch says little:
what counts is how long the stream stood still between the step before and the batch's arrival. Two events around the
fetch measure that on the GPU, and are read only once per lap, when the losses are read anyway: nothing synchronises.
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
    """A stretch of training."""

    pairs: int = 0
    """Pairs (input, target) trained on."""
    seconds: float = 0.0
    """Wall time."""
    waited: float = 0.0
    """Seconds of it in which the device had no batch to work on."""

    def __add__(self, other: Lap) -> Lap:
        """Put two stretches together."""
        return Lap(self.pairs + other.pairs, self.seconds + other.seconds, self.waited + other.waited)

    def __str__(self) -> str:
        """Return the rates of a stretch that is not empty."""
        return f"{self.pairs / self.seconds:.1f} pairs/s, {self.waited / self.seconds:.1%} waiting"

    @property
    def rates(self) -> dict[str, float | None]:
        """Pairs a second, and the share of the time spent waiting for data; None for an empty stretch."""
        if not self.seconds:
            return {"pairs_per_s": None, "data_wait_share": None}
        return {"pairs_per_s": self.pairs / self.seconds, "data_wait_share": self.waited / self.seconds}


class Clock:
    """Times batches and laps on one device."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Begin a lap here, forgetting the one under way."""
        self._waits: list[tuple[Any, Any]] = []
        self._pairs = 0
        self._start = time.perf_counter()

    def fetch(self, batches: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the next batch, timing the wait for it."""
        before = self._mark()
        batch = next(batches)
        self._waits.append((before, self._mark()))
        self._pairs += len(batch["sample"]) * ranks.count()
        return batch

    def lap(self) -> Lap:
        """End the lap and begin the next. On a GPU, call it when the work of the lap has been waited for."""
        if self._cuda:
            waited = sum(before.elapsed_time(after) for before, after in self._waits) / 1000
        else:
            waited = sum(after - before for before, after in self._waits)
        lap = Lap(self._pairs, time.perf_counter() - self._start, waited)
        self.restart()
        return lap

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
