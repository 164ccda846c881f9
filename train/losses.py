"""Losses that are read rarely: reading one waits for the GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from train import ranks


class Losses:
    """Keeps the losses of steps on their device until they are asked for."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._steps: list[tuple[int, list[int]]] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Return how many steps are kept."""
        return len(self._steps)

    def add(self, step: int, samples: torch.Tensor, numbers: Mapping[str, torch.Tensor]) -> None:
        """Keep a step's numbers, the loss first, the same ones at every step; `samples` are its samples' numbers."""
        self._names = list(numbers)
        self._steps.append((step, samples.tolist()))
        self._values.append(torch.stack([number.detach().float() for number in numbers.values()]))

    def drain(self) -> dict[str, float]:
        """Wait for the device and return the means, over all processes, of what was added since the last time.

        Raises
        ------
        FloatingPointError
            When a loss was not finite, naming the samples of the first such batch.
        """
        values = torch.stack(self._values).tolist()
        places = [place for place, (loss, *_) in enumerate(values) if not math.isfinite(loss)]
        if ranks.largest(bool(places)):
            raise FloatingPointError(self._blame(places[0], values) if places else "the loss of another process broke")
        self._steps.clear()
        self._values.clear()
        means = ranks.mean([sum(column) / len(values) for column in zip(*values, strict=True)])
        return dict(zip(self._names, means, strict=True))

    def _blame(self, place: int, values: list[list[float]]) -> str:
        step, samples = self._steps[place]
        return (
            f"the loss became {values[place][0]} at step {step}, with the samples {samples}. Look at them with "
            "`python -m dali_cr preview`; if they are sound, --resume with a smaller --lr or --clip"
        )
