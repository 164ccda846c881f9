"""How well a network restores views of cases it never saw, and whether its projections still tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...run.device import autocast
from ..errors import Errors
from .comparison import spread
from .pyramid import Pyramid


@dataclass(frozen=True)
class ViewEvaluation:
    """What the first views of held-out samples showed."""

    restoration_gain: float | None
    """1 - MSE(restored, target) / MSE(best line, target): 0 is the best that contrast and brightness alone can do with
    the corrupted view, 1 is perfect. The line is fitted to the target of each sample and channel; the view is z-scored,
    so that without it nothing could be compared. None if the line leaves no error."""
    explained: float | None
    """1 - MSE(restored, target) / MSE(mean, target), the mean that of each sample's and channel's target. None if all
    targets are constant."""
    spread: tuple[float, ...]
    """Of the projections at each level, the coarsest first: 1 is sound, 0 a collapse."""
    slices: dict[str, npt.NDArray[np.float32]]
    """`target`, `input` (the best line) and `restored`, each (n, H, W): the middle slice of the first channel."""


@torch.no_grad()
def evaluate_views(
    module: Pyramid, batches: Iterable[Mapping[str, torch.Tensor]], samples: int, device: torch.device
) -> ViewEvaluation:
    """Restore and project the first views of at least `samples` samples, in whole batches.

    Batch norm takes the statistics of the batch, as in training: the running ones mix global with local views.

    Parameters
    ----------
    module : Pyramid
        Nothing in it is changed.
    batches : iterable of dict
        Of held-out cases, as `dali_cr.Loader` yields them for `dali_cr.Views`.
    samples : int
    device : torch.device
        Where the module is.
    """
    errors = Errors()
    said: list[list[torch.Tensor]] = [[] for _ in module.comparers]
    with batch_statistics(module):
        for batch in batches:
            view, target = batch["view"][:, 0], batch["target"][:, 0].double()
            with autocast(device):
                pyramid = module.unet.pyramid(view)
                restored = module.unet.output(pyramid[-1]).float().sigmoid()
                for kept, comparer, level in zip(said, module.comparers, pyramid, strict=True):
                    kept.append(comparer(level).projection)
            mean = target.mean(tuple(range(2, target.ndim)), keepdim=True)
            errors.add(target, {"input": best_line(view, target), "restored": restored, "mean": mean})
            if errors.samples >= samples:
                break
    fitted, left, constant = errors.sums().values()
    return ViewEvaluation(
        restoration_gain=1 - left / fitted if fitted else None,
        explained=1 - left / constant if constant else None,
        spread=tuple(spread(torch.cat(kept)) for kept in said),
        slices=errors.slices("target", "input", "restored"),
    )


def best_line(view: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return a view, scaled and shifted so that each channel of each sample is as near its target as that can be.

    Parameters
    ----------
    view, target : (B, C, D, H, W) or (B, C, H, W) float

    Returns
    -------
    array of the same shape, float64
    """
    axes = tuple(range(2, view.ndim))
    view, target = view.double(), target.double()
    mean = target.mean(axes, keepdim=True)
    centred = view - view.mean(axes, keepdim=True)
    length = centred.square().sum(axes, keepdim=True)
    slope = (centred * (target - mean)).sum(axes, keepdim=True) / length.where(length > 0, 1.0)
    return slope * centred + mean


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms take the statistics of the batch and keep nothing of them."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    training = module.training
    module.train()
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        module.train(training)
