"""Make the views of one sample on the CPU: interpolate them, and corrupt copies of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.blur import blur_ref
from dali_cr.ops.cpu.interpolate import interpolate
from dali_cr.ops.cpu.lines import Floats, decode_arguments, decode_line
from dali_cr.ops.erase import erase_in_place_ref
from dali_cr.ops.gamma import gamma_ref
from dali_cr.ops.gather import gather_views_ref
from dali_cr.ops.jitter import jitter_ref
from dali_cr.ops.noise import add_noise_ref
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.standardize import standardize_ref
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.ops.zscore import zscore_ref
from dali_cr.pipeline.samples import Arrays
from dali_cr.plan.plans import ViewPlans
from dali_cr.recipe.views import GLOBALS, Views
from dali_cr.system.compiled import compiled
from dali_cr.system.scratch import scratch_floats
from dali_cr.volume.geometry import Triple


def gather_sample(
    recipe: Views,
    plans: ViewPlans,
    i: int,
    channel: int,
    raw: npt.NDArray[Any],
    rescale: Rescale,
    target: Floats,
    local: Floats,
) -> None:
    """Decode the box of sample i and interpolate one channel of all its views, in one compiled call.

    Parameters
    ----------
    recipe : Views
    plans : ViewPlans
    i, channel : int
    raw : (d, h, w)
        Raw voxels of the sample's box.
    rescale : Rescale
    target, local : (views, C, D, H, W) float32
        Output arrays.
    """
    box = scratch_floats("decoded", (raw.size,))
    first = plans.boxes[i, 0].astype(np.float64)
    shapes = recipe.shape, recipe.local_shape, target.shape[1], channel
    lines = target.reshape(-1), local.reshape(-1)
    _gather(*decode_arguments(raw, rescale), box, first, plans.matrices[i], plans.offsets[i], *shapes, *lines)


def corrupt_sample(
    target: npt.NDArray[np.float32],
    local: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.float32],
    counters: npt.NDArray[np.int64],
    swaps: npt.NDArray[np.int32],
    holes: Sequence[Any] | npt.NDArray[np.int32],
    recipe: Views,
    seed: int,
    view: npt.NDArray[np.float32],
) -> None:
    """Corrupt the views of one sample on the CPU, the local ones in place, and standardize its targets."""
    corrupt_ref(target, numbers[:GLOBALS], seed, counters[:GLOBALS], recipe, view, swaps, holes)
    corrupt_ref(local, numbers[GLOBALS:], seed, counters[GLOBALS:], recipe, local)
    if recipe.standardize != "zscore":
        standardize_ref(target, *recipe.standardize, target)


def corrupt_ref(
    clean: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.float32],
    seed: int,
    counters: npt.NDArray[np.int64],
    recipe: Views,
    out: npt.NDArray[np.float32],
    swaps: Sequence[Any] | npt.NDArray[np.int32] = (),
    holes: Sequence[Any] | npt.NDArray[np.int32] = (),
) -> None:
    """Blur views, add noise, apply gamma and jitter, swap patches, standardize and cut out holes, on the CPU.

    Parameters
    ----------
    clean : (N, C, D, H, W) float32
    numbers : (N, 8) float32
        As in `ViewPlans.intensities`.
    seed : int
    counters : (N, 2) int64
        From `counters_of`.
    recipe : Views
    out : as `clean`
        Output array; may be `clean`.
    swaps, holes : sequence of (T, 3, 3) int32
        Swaps and holes of the first views; the other views have none.
    """
    blur_ref(clean, numbers[:, :3], out)
    add_noise_ref(out, numbers[:, 3], seed, counters, out)
    gamma_ref(out, numbers[:, 4], out)
    if recipe.jitters:
        jitter_ref(out, numbers[:, 5:], out)
    for array, boxes in zip(out, swaps, strict=False):
        swap_in_place_ref(array, boxes)
    if recipe.standardize == "zscore":
        zscore_ref(out, out)
    else:
        standardize_ref(out, *recipe.standardize, out)
    for array, boxes in zip(out, holes, strict=False):
        erase_in_place_ref(array, boxes, np.zeros(len(array), np.float32))


def finish_batch_ref(inputs: Arrays, *, recipe: Views, seed: int) -> tuple[Floats, Floats, Floats]:
    """Make the views of a batch on the CPU; the definition of `finish_batch`."""
    target = gather_views_ref(inputs["raw"], inputs["globals"], recipe.shape)
    local = gather_views_ref(inputs["raw"], inputs["locals"], recipe.local_shape)
    view = np.empty_like(target)
    holes = inputs.get("holes", [()] * len(target))
    for i, drawn in enumerate(zip(inputs["intensities"], inputs["counters"], inputs["swaps"], holes, strict=True)):
        corrupt_sample(target[i], local[i], *drawn, recipe, seed, view[i])
    return view, target, local


@compiled
def _gather(
    line: Any,
    kind: Any,
    swapped: bool,
    start: int,
    strides: Triple,
    extent: Triple,
    numbers: tuple[float, float, float],
    limits: tuple[np.float32, np.float32, np.float32],
    keep: bool,
    box: Floats,
    first: npt.NDArray[np.float64],
    matrices: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.float64],
    shape: Triple,
    local_shape: Triple,
    channels: int,
    channel: int,
    target: Floats,
    local: Floats,
) -> None:
    """Decode a box and interpolate one channel of all views; the first arguments are those of `decode_line`."""
    decode_line(line, kind, swapped, start, strides, extent, numbers, limits, keep, (0, 0, 0), extent, box, box, False)
    for view in range(matrices.shape[0]):
        in_globals = view < GLOBALS
        out, size = (target, shape) if in_globals else (local, local_shape)
        voxels = size[0] * size[1] * size[2]
        at = ((view if in_globals else view - GLOBALS) * channels + channel) * voxels
        result = out[at : at + voxels]
        interpolate(box, extent, first, limits[2], matrices[view], offsets[view], result, size, False, False)
