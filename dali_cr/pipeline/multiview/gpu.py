"""Make batches of views on a GPU: interpolate them, and corrupt copies of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dali_cr.ops.blur import blur
from dali_cr.ops.erase import erase_in_place
from dali_cr.ops.gamma import gamma
from dali_cr.ops.gather import gather_views
from dali_cr.ops.gpu import launch
from dali_cr.ops.jitter import jitter
from dali_cr.ops.noise import add_noise
from dali_cr.ops.standardize import standardize
from dali_cr.ops.swap import swap_in_place
from dali_cr.ops.zscore import zscore
from dali_cr.pipeline.samples import Arrays
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.views.draw import INTENSITIES
from dali_cr.recipe.views import GLOBALS, Views


def finish_batch(inputs: Arrays, *, recipe: Views, seed: int, arena: Any = None) -> tuple[Any, Any, Any]:
    """Make the views of a batch on a GPU from the output of `MultiView.describe`.

    Parameters
    ----------
    inputs : dict
        "raw" (B, bytes) uint8, "globals" and "locals" (B, views, C, 32) int64, "swaps" (B, 2, T, 3, 3) int32,
        "intensities" (B, views, 8) float32, "counters" (B, views, 2) int64, with cutout "holes" (B, 2, N, 3, 3) int32;
        without "swaps" they are drawn from "sample" (B,) int64.
    recipe : Views
    seed : int
        Seed of noise and swaps.
    arena : (bytes,) uint8, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    view, target, local : (B, views, C, D, H, W) float32
    """
    target = gather_views(inputs["raw"], inputs["globals"], recipe.shape, arena=arena)
    local = gather_views(inputs["raw"], inputs["locals"], recipe.local_shape, arena=arena)
    numbers, counters = inputs["intensities"], inputs["counters"]
    if "swaps" in inputs:
        swaps = inputs["swaps"]
    else:
        swaps = SwapSampler(seed, recipe.shape, recipe.swap, GLOBALS).draw_on_gpu(inputs["sample"])
    view = _corrupt(target, numbers[:, :GLOBALS], seed, counters[:, :GLOBALS], recipe, swaps, inputs.get("holes"))
    local = _corrupt(local, numbers[:, GLOBALS:], seed, counters[:, GLOBALS:], recipe)
    if recipe.standardize != "zscore":
        standardize(target.reshape(-1, *target.shape[2:]), *recipe.standardize)
    return view, target, local


def _corrupt(
    clean: Any, numbers: Any, seed: int, counters: Any, recipe: Views, swaps: Any = None, holes: Any = None
) -> Any:
    """Return corrupted copies of views (B, V, C, D, H, W), on the GPU; the same steps as `corrupt_ref`."""
    numbers = numbers.reshape(-1, INTENSITIES)
    sigmas, stds, exponents, factors = (numbers[:, part].copy() for part in (slice(3), 3, 4, slice(5, None)))
    # The radius of the largest sigma that can be drawn, after it is rounded to float32.
    radius = int(4 * float(np.float32(recipe.blur)) + 0.5)
    views = blur(clean.reshape(-1, *clean.shape[2:]), sigmas, radius)
    add_noise(views, stds, seed, counters.reshape(-1, 2).copy())
    gamma(views, exponents)
    if recipe.jitters:
        jitter(views, factors)
    if swaps is not None:
        swap_in_place(views, swaps.reshape(len(views), *swaps.shape[2:]))
    if recipe.standardize == "zscore":
        zscore(views)
    else:
        standardize(views, *recipe.standardize)
    if holes is not None:
        zeros = launch.array_module().zeros(views.shape[:2], np.float32)
        erase_in_place(views, holes.reshape(len(views), *holes.shape[2:]), zeros)
    return views.reshape(clean.shape)
