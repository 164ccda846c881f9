"""Squared errors over many samples, and the middle slices of the first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

_PICTURES = 4
"""Samples of which the middle slices are kept."""


class Errors:
    """Squared errors of one or more answers to the same targets, summed on their device."""

    def __init__(self) -> None:
        self.samples = 0
        self._voxels: int | torch.Tensor = 0
        self._squares: dict[str, torch.Tensor] = {}
        self._slices: dict[str, list[torch.Tensor]] = {}

    @property
    def voxels(self) -> int:
        """Those whose errors were summed."""
        return int(self._voxels)

    def add(self, target: torch.Tensor, answers: Mapping[str, torch.Tensor], where: torch.Tensor | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        target : (B, C, D, H, W) or (B, C, H, W)
        answers : mapping of str to tensor
            Of the target's shape, or broadcast to it; the same names every time.
        where : bool tensor, optional
            Of the target's shape: the voxels that count; all of them without it.
        """
        for name, answer in answers.items():
            squares = (answer - target).double().square()
            square = squares.sum() if where is None else squares.where(where, 0.0).sum()
            self._squares[name] = self._squares[name] + square if name in self._squares else square
        for name, volumes in (("target", target), *answers.items()):
            kept = volumes.expand_as(target)[: max(0, _PICTURES - self.samples), 0]
            self._slices.setdefault(name, []).append(middle_slices(kept))
        self.samples += len(target)
        self._voxels += target.numel() if where is None else where.sum()

    def sums(self) -> dict[str, float]:
        """Return the sum of squares of each answer."""
        return {name: square.item() for name, square in self._squares.items()}

    def slices(self, *names: str) -> dict[str, npt.NDArray[np.float32]]:
        """Return the middle slices of the first samples' first channel, (n, H, W) each; "target" is those of them."""
        return {name: torch.cat(self._slices[name]).numpy() for name in names}


def middle_slices(volumes: torch.Tensor) -> torch.Tensor:
    """Return the middle slice of each volume (N, D, H, W), or images as they are."""
    middle = volumes[:, volumes.shape[1] // 2] if volumes.ndim == 4 else volumes
    return middle.float().cpu().clone()
