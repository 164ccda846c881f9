"""How well a network restores cases it never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import dali_cr
from train.device import autocast

SEED = 0
"""Of the held-out samples, whatever the training's seed: runs are compared on the same corruption."""

_PICTURES = 4
"""Samples of which the middle slices are kept."""


@dataclass(frozen=True)
class Evaluation:
    """What the held-out samples showed."""

    restoration_gain: float | None
    """1 - MSE(restored, target) / MSE(disordered, target): 0 is doing nothing, 1 is perfect. None if no voxel moved."""
    changed_share: float
    """Share of the voxels whose value the swaps changed."""
    slices: dict[str, npt.NDArray[np.float32]]
    """`target`, `disordered` and `restored`, each (n, H, W): the middle slice of the first channel."""


@torch.no_grad()
def evaluate(module: nn.Module, loader: dali_cr.Loader, samples: int, device: torch.device) -> Evaluation:
    """Restore the loader's first `samples` samples.

    Parameters
    ----------
    module : nn.Module
        From (B, C, D, H, W) disordered to restored; left in training mode.
    loader : dali_cr.Loader
        Over held-out cases, at its beginning.
    samples : int
        How many, at least 1.
    device : torch.device
        Where the module is.

    Returns
    -------
    Evaluation
    """
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    slices: dict[str, list[torch.Tensor]] = {"target": [], "disordered": [], "restored": []}
    voxels = seen = 0
    batches = iter(loader)
    module.eval()
    while seen < samples:
        batch = next(batches)
        target = batch["target"][: samples - seen]
        disordered = batch["disordered"][: samples - seen]
        with autocast(device):
            restored = module(disordered).float()
        moved = disordered != target
        sums += torch.stack([_squares(restored - target), _squares(disordered - target), moved.sum().double()])
        voxels += target.numel()
        for name, volumes in (("target", target), ("disordered", disordered), ("restored", restored)):
            middle = volumes[: max(0, _PICTURES - seen), 0, volumes.shape[2] // 2]
            slices[name].append(middle.float().cpu().clone())
        seen += len(target)
    module.train()
    left, before, changed = sums.tolist()
    return Evaluation(
        restoration_gain=1 - left / before if before else None,
        changed_share=changed / voxels,
        slices={name: torch.cat(parts).numpy() for name, parts in slices.items()},
    )


def _squares(difference: torch.Tensor) -> torch.Tensor:
    return difference.double().square().sum()
