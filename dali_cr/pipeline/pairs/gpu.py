"""Make batches of pairs on a GPU: decode or interpolate the targets, and corrupt copies of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dali_cr.ops.contrast import adjust_contrast
from dali_cr.ops.decode import decode_volume
from dali_cr.ops.erase import erase_in_place
from dali_cr.ops.gather import gather_crops
from dali_cr.ops.gpu import launch
from dali_cr.ops.noise import add_noise
from dali_cr.ops.records.layout import padding_values
from dali_cr.ops.swap import swap_in_place
from dali_cr.pipeline.samples import Arrays
from dali_cr.plan.crops.masks import make_sampler
from dali_cr.recipe.restoration import Restoration


def finish_batch(inputs: Arrays, *, recipe: Restoration, seed: int, arena: Any = None) -> tuple[Any, ...]:
    """Make a batch of pairs on a GPU from the output of `Pairs.describe`.

    Parameters
    ----------
    inputs : dict
        "raw" (B, bytes) uint8, "records" (B, C, 16) int64, or (B, C, 32) if interpolated, "swaps" (B, T, 3, 3) int32;
        without "swaps" the boxes are drawn from "sample" (B,) int64. With noise or gamma also "stds" (B, C) and
        "exponents" (B,) float32, and "counters" (B, C, 2) int64.
    recipe : Restoration
    seed : int
        Seed of swaps or blocks, and of noise.
    arena : (bytes,) uint8, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    input, target : (B, C, D, H, W)
    mask : (B, 1, D, H, W) uint8
        Only for masked samples.
    """
    raw, records, dtype = inputs["raw"], inputs["records"], recipe.dtype
    decoded = "float32" if recipe.intensity else dtype
    if recipe.interpolated:
        target = gather_crops(raw, records, recipe.crop, decoded, arena=arena)
        input = target.copy()
    else:
        target, input = decode_volume(raw, records, recipe.crop, decoded, arena=arena, twice=True)
    if recipe.intensity:
        _change(input, inputs, seed)
        target, input = target.astype(dtype, copy=False), input.astype(dtype, copy=False)
    swaps = inputs["swaps"] if "swaps" in inputs else make_sampler(recipe, seed).draw_on_gpu(inputs["sample"])[:, 0]
    if recipe.pretext == "mae":
        return input, target, _mask(input, swaps, recipe.mask_value)
    if recipe.pretext == "inpaint":
        erase_in_place(input, swaps, padding_values(records, dtype))
    else:
        swap_in_place(input, swaps)
    return input, target


def find_valid(raw: Any, records: Any, recipe: Restoration, *, arena: Any = None) -> Any:
    """Return the valid voxels of a batch, where the mask is 0, on a GPU.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, 1, 16) or (B, 1, 32) int64
        Records of the masks.
    recipe : Restoration
    arena : (bytes,) uint8, optional

    Returns
    -------
    valid : (B, 1, D, H, W) uint8
    """
    sample = gather_crops if recipe.interpolated else decode_volume
    return (sample(raw, records, recipe.crop, "float32", arena=arena) == 0).astype(np.uint8)


def _change(input: Any, inputs: Arrays, seed: int) -> None:
    """Add noise and apply gammas to each channel of a batch, on a GPU."""
    counters, stds = inputs["counters"].reshape(-1, 2), inputs["stds"].reshape(-1)
    add_noise(input.reshape(-1, 1, *input.shape[2:]), stds, seed, counters)
    adjust_contrast(input, inputs["exponents"])


def _mask(input: Any, blocks: Any, value: float) -> Any:
    """Set blocks of a batch to a value on a GPU; return the mask (B, 1, D, H, W) uint8."""
    xp = launch.array_module()
    mask = xp.zeros((len(input), 1, *input.shape[2:]), np.uint8)
    erase_in_place(mask, blocks, xp.ones((len(input), 1), np.uint8))
    erase_in_place(input, blocks, xp.full(input.shape[:2], value, input.dtype))
    return mask
