"""Evaluation of PCRLv2 on held-out views: restoration gain, R² and the collapse metric of the projections."""

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
from .contrastive import collapse_metric
from .pyramid import Pyramid


@dataclass(frozen=True)
class ViewEvaluation:
    """Metrics on the first global views of held-out samples."""

    restoration_gain: float | None
    """1 - MSE(restored, target) / MSE(linear fit, target): 0 is as good as the best change of contrast and brightness
    of the corrupted view, 1 is perfect. The fit is made for each sample and channel; it is needed because views are
    z-scored and targets are not. None if the fit is exact."""
    r2: float | None
    """R² = 1 - MSE(restored, target) / variance(target), the variance within each sample and channel. None if all
    targets are constant."""
    collapse_metric: tuple[float, ...]
    """Collapse metric of the projections at each level, coarsest first: 1 is sound, 0 is a collapse."""
    slices: dict[str, npt.NDArray[np.float32]]
    """`target`, `input` (the linear fit) and `restored`, each (n, H, W): middle slices of the first channel."""


@torch.no_grad()
def evaluate_views(
    module: Pyramid, batches: Iterable[Mapping[str, torch.Tensor]], samples: int, device: torch.device
) -> ViewEvaluation:
    """Evaluate a network on the first global views of at least `samples` samples, in whole batches.

    Batch norm uses the statistics of the batch, as in training: the running statistics mix global and local views.

    Parameters
    ----------
    module : Pyramid
        Left unchanged.
    batches : iterable of dict
        Batches of held-out cases from a `dali_cr.Loader` with the recipe `dali_cr.Views`.
    samples : int
    device : torch.device
        The device of the module.
    """
    errors = Errors()
    projections: list[list[torch.Tensor]] = [[] for _ in module.comparers]
    with batch_statistics(module):
        for batch in batches:
            view, target = batch["view"][:, 0], batch["target"][:, 0].double()
            with autocast(device):
                pyramid = module.unet.pyramid(view)
                restored = module.restored(pyramid)
                for kept, head, level in zip(projections, module.comparers, pyramid, strict=True):
                    kept.append(head(level).projection)
            mean = target.mean(tuple(range(2, target.ndim)), keepdim=True)
            errors.add(target, {"input": linear_fit(view, target), "restored": restored, "mean": mean})
            if errors.samples >= samples:
                break
    fitted, left, constant = errors.sums().values()
    return ViewEvaluation(
        restoration_gain=1 - left / fitted if fitted else None,
        r2=1 - left / constant if constant else None,
        collapse_metric=tuple(collapse_metric(torch.cat(kept)) for kept in projections),
        slices=errors.slices("target", "input", "restored"),
    )


def linear_fit(view: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the least-squares linear fit of a view to its target, for each sample and channel.

    Parameters
    ----------
    view, target : (B, C, D, H, W) or (B, C, H, W) float

    Returns
    -------
    tensor of the same shape, float64
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
    """Make batch norms use the statistics of the batch, without updating their running statistics."""
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
