"""Forecast of the duration of a run, from its first steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FIRST, _SETTLED = 5, 50
"""Numbers of steps of a process after which a forecast is made; the first only if the second is far off."""

_PATIENCE = 60.0
"""Seconds after which a forecast is made in any case."""

_LONG = 24.0
"""Hours above which a run on a CPU is too long."""

_REDUCE = "reduce --crop, --filters, --batch-size or --steps, or train on a GPU"


class Forecast:
    """Measures the steps of this process, without its first one, which includes start-up costs.

    Evaluation and saving are not measured. Nothing of it is recorded, so that metrics do not depend on resumes.

    Parameters
    ----------
    device : torch.device
    samples : int
        Samples of a step.

    Examples
    --------
    >>> forecast = Forecast(torch.device("cpu"), samples=4)
    >>> for _ in range(3):
    ...     forecast.add(40.0)
    >>> for line in forecast.lines(left=10_000):
    ...     print(line)
    cost       0.1 samples/s: 111.11 hours (4.6 days) for the 10,000 steps left, without evaluation
    warning    4.6 days on a CPU: reduce --crop, --filters, --batch-size or --steps, or train on a GPU
    """

    def __init__(self, device: torch.device, samples: int) -> None:
        self._device, self._samples = device, samples
        self._count, self._seconds = 0, 0.0
        self._made, self._warned = False, False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context of a step."""
        began = time.perf_counter()
        yield
        # A GPU works behind the host: both ends of the measured steps need it to be done.
        if self._device.type == "cuda" and self._count + 1 in (1, _FIRST, _SETTLED):
            torch.cuda.synchronize(self._device)
        self.add(time.perf_counter() - began)

    def add(self, seconds: float) -> None:
        """Add a step that took this long."""
        self._count += 1
        self._seconds += seconds if self._count > 1 else 0.0

    def lines(self, left: int) -> Iterator[str]:
        """Yield the forecast of the steps left, if it is due after the last step, and on a CPU a warning if it is long.

        Parameters
        ----------
        left : int
            Number of steps left in the run.
        """
        if not self._due(left):
            return
        self._made = True
        each = self._seconds / (self._count - 1)
        hours = left * each / 3600
        days = f" ({hours / 24:.1f} days)" if hours > _LONG else ""
        line = f"cost       {self._samples / each:.1f} samples/s: {hours:.2f} hours{days} for the {left:,} steps left"
        yield f"{line}, without evaluation{self._memory()}"
        if hours > _LONG and self._device.type == "cpu" and not self._warned:
            self._warned = True
            yield f"warning    {hours / 24:.1f} days on a CPU: {_REDUCE}"

    def _due(self, left: int) -> bool:
        """Whether to make a forecast: once within a minute or so, and again when the rate has settled."""
        if self._count < 2 or left < 1 or self._count > _SETTLED:
            return False
        if self._count == _SETTLED:
            return True
        each = self._seconds / (self._count - 1)
        slow = each * min(_SETTLED - self._count, left) > _PATIENCE
        return not self._made and slow and (self._count >= _FIRST or self._seconds > _PATIENCE)

    def _memory(self) -> str:
        """Return the memory of a GPU in use as text."""
        if self._device.type != "cuda":
            return ""
        free, there = torch.cuda.mem_get_info(self._device)
        peak = torch.cuda.max_memory_allocated(self._device) / 2**30
        return f"; peak GPU memory {peak:.1f} GiB in PyTorch, {(there - free) / 2**30:.1f} GiB in use"
