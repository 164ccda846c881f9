"""Foreground masks of held-out targets, over which metrics are computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.plan.sample import SamplePlan
from dali_cr.plan.window import shape_at
from dali_cr.recipe.per_dataset import normalize_of, spacing_of

from ..data.volumes import background_tolerance, background_value


def find_foreground(loader: dali_cr.Loader, batch: dict[str, Any]) -> torch.Tensor:
    """Return a mask of the voxels of a batch's targets that are neither padding nor background.

    Voxels that were clipped to the background's value count as background.

    Parameters
    ----------
    loader : dali_cr.Loader
        With the recipe `dali_cr.Restoration`.
    batch : dict
        A batch of this loader.

    Returns
    -------
    foreground : bool tensor
        Shape and device of ``batch["target"]``, (B, C, D, H, W) or (B, C, H, W).
    """
    target, recipe = batch["target"], loader.recipe
    assert isinstance(recipe, dali_cr.Restoration)
    index = recipe.slices.turn(loader.index) if recipe.slices else loader.index
    foreground = torch.empty_like(target, dtype=torch.bool)
    for own, values, number in zip(foreground, target, batch["sample"].tolist(), strict=True):
        plan = loader.plan(number)
        case = index.cases[plan.case]
        own[:] = torch.from_numpy(_inside(plan, case, recipe)).to(target.device).view(own.shape[1:])
        for channel, volume in enumerate(case.volumes):
            background = background_value(volume, normalize_of(recipe.normalize, case.dataset))
            if background is not None:
                own[channel] &= (values[channel] - background).abs() > background_tolerance(background)
    return foreground


def _inside(plan: SamplePlan, case: Case, recipe: dali_cr.Restoration) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a mask (D, H, W) of the voxels of a crop that lie inside its volume."""
    inside = np.zeros(recipe.crop, bool)
    window = []
    shape = shape_at(case, spacing_of(recipe.spacing, case.dataset))
    for start, edge, length, flip in zip(plan.origin, recipe.crop, shape, plan.flips, strict=True):
        first, last = max(0, -start), min(edge, length - start)
        window.append(slice(edge - last, edge - first) if flip else slice(first, last))
    inside[tuple(window)] = True
    return inside
