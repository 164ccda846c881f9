"""Segmentation scores: sliding-window inference on whole volumes, Dice, and HD95 in mm.

Windows have the size of the training crop, and volumes are padded to at most one window. On a whole padded volume the
same weights score far lower, because normalisation layers then see mostly padding.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dali_cr.index.volumes import Case

from ..data.volumes import Volume, content_box, outside, pad_evenly
from .task import TaskInput, run_network

OVERLAP = 0.5
"""Overlap of neighbouring windows along each axis."""


@dataclass(frozen=True)
class MaskScore:
    """Scores of one class of one case."""

    dice: float
    """Dice coefficient; 1 if both masks are empty."""
    hd95: float
    """95th percentile of the surface distance in mm; 0 if both masks are empty, the image's diagonal if one is."""
    missed: bool
    """Whether the prediction is empty and the target is not."""


@torch.no_grad()
def slide(
    module: nn.Module, volume: Volume, case: Case, view: TaskInput
) -> tuple[torch.Tensor, tuple[slice, slice, slice]]:
    """Return a network's output on the content of a volume by sliding windows, and the box of the content.

    2-D networks process volumes slice by slice.

    Parameters
    ----------
    module : nn.Module
        Maps (B, C, D, H, W) to (B, K, D, H, W), or without D in 2-D; in evaluation mode.
    volume : (C, D, H, W) float32
        From `train.data.volumes.read_case`.
    case : Case
    view : TaskInput
        The input settings, with the training crop.

    Returns
    -------
    output : (K, d, h, w) float32
        On the module's device.
    box : (3,) slice
        Box in the canonical volume; outside of it there is only background.
    """
    from monai.inferers.utils import sliding_window_inference

    device = next(module.parameters()).device
    box = content_box(volume, case, view.normalize)
    inner = np.ascontiguousarray(volume[(slice(None), *box)])
    padded, first = pad_evenly(inner, view.crop, outside(case, view.normalize))
    output = sliding_window_inference(
        torch.from_numpy(padded)[None].to(device),
        roi_size=view.crop,
        sw_batch_size=view.batch_size,
        predictor=lambda windows: run_network(module, windows, view.dims),
        # Slices must not overlap.
        overlap=[0.0 if edge == 1 else OVERLAP for edge in view.crop],
        mode="gaussian",
    )
    assert isinstance(output, torch.Tensor)
    kept = tuple(slice(f, f + length) for f, length in zip(first, inner.shape[1:], strict=True))
    return output[0][(slice(None), *kept)], box


def score_masks(
    predicted: npt.NDArray[np.bool_], targets: npt.NDArray[np.bool_], spacing: tuple[float, float, float]
) -> list[MaskScore]:
    """Score each class of a case.

    Parameters
    ----------
    predicted, targets : (K, D, H, W) bool
    spacing : (D, H, W) float
        Voxel size in mm.
    """
    from monai.metrics.meandice import compute_dice

    masks = torch.from_numpy(predicted)[None], torch.from_numpy(targets)[None]
    dice = compute_dice(*masks, include_background=True, ignore_empty=False)[0].tolist()
    scores = []
    for one, other, overlap in zip(predicted, targets, dice, strict=True):
        missed = bool(other.any() and not one.any())
        scores.append(MaskScore(overlap, _surface_distance(one, other, spacing), missed))
    return scores


def _surface_distance(
    one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], spacing: tuple[float, float, float]
) -> float:
    if not one.any() or not other.any():
        diagonal = math.hypot(*(length * mm for length, mm in zip(one.shape, spacing, strict=True)))
        return diagonal if one.any() or other.any() else 0.0
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    predicted, targets = (torch.from_numpy(mask)[None, None] for mask in (one, other))
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 call their own functions with a deprecated argument.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        distance = compute_hausdorff_distance(
            predicted, targets, include_background=True, percentile=95, spacing=list(spacing)
        )
    return float(distance[0, 0])
