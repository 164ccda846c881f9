"""Sums of squared errors over samples, and middle slices of the first samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

_PICTURES = 4
"""Number of samples whose middle slices are kept."""


class Errors:
    """Squared errors of one or more predictions of the same targets, summed on their device."""

    def __init__(self) -> None:
        self.samples = 0
        self._voxels: int | torch.Tensor = 0
        self._squares: dict[str, torch.Tensor] = {}
        self._slices: dict[str, list[torch.Tensor]] = {}

    @property
    def voxels(self) -> int:
        """The number of voxels in the sums."""
        return int(self._voxels)

    def add(
        self, target: torch.Tensor, predictions: Mapping[str, torch.Tensor], where: torch.Tensor | None = None
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        target : (B, C, D, H, W) or (B, C, H, W)
        predictions : mapping of str to tensor
            Predictions by name, broadcastable to the target's shape; the same names in every call.
        where : bool tensor, optional
            Mask of the target's shape: the voxels to include; by default all.
        """
        for name, prediction in predictions.items():
            squares = (prediction - target).double().square()
            square = squares.sum() if where is None else squares.where(where, 0.0).sum()
            self._squares[name] = self._squares[name] + square if name in self._squares else square
        for name, volumes in (("target", target), *predictions.items()):
            kept = volumes.expand_as(target)[: max(0, _PICTURES - self.samples), 0]
            self._slices.setdefault(name, []).append(middle_slices(kept))
        self.samples += len(target)
        self._voxels += target.numel() if where is None else where.sum()

    def sums(self) -> dict[str, float]:
        """Return the sum of squared errors of each prediction."""
        return {name: square.item() for name, square in self._squares.items()}

    def slices(self, *names: str) -> dict[str, npt.NDArray[np.float32]]:
        """Return middle slices (n, H, W) of the first samples' first channel, of targets ("target") or predictions."""
        return {name: torch.cat(self._slices[name]).numpy() for name in names}


def middle_slices(volumes: torch.Tensor) -> torch.Tensor:
    """Return the middle slice of each volume (N, D, H, W); images (N, H, W) are returned unchanged."""
    middle = volumes[:, volumes.shape[1] // 2] if volumes.ndim == 4 else volumes
    return middle.float().cpu().clone()
