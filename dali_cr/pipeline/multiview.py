"""`MultiView`: samples of `Views`, with two corrupted global views, their clean targets, and local views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.blur import blur, blur_ref
from dali_cr.ops.cpu.interpolate import interpolate
from dali_cr.ops.cpu.lines import Floats, decode_arguments, decode_line
from dali_cr.ops.erase import erase_in_place, erase_in_place_ref
from dali_cr.ops.gamma import gamma, gamma_ref
from dali_cr.ops.gather import gather_views, gather_views_ref
from dali_cr.ops.gpu import launch
from dali_cr.ops.jitter import jitter, jitter_ref
from dali_cr.ops.noise import add_noise, add_noise_ref
from dali_cr.ops.records.layout import VIEW_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import place_views
from dali_cr.ops.standardize import standardize, standardize_ref
from dali_cr.ops.swap import swap_in_place, swap_in_place_ref
from dali_cr.ops.zscore import zscore, zscore_ref
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.samples import Arrays, Templates, VoxelLayout
from dali_cr.plan.plans import Planner, Plans, ViewPlans
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.views import INTENSITIES
from dali_cr.recipe.views import GLOBALS, Views
from dali_cr.system.compiled import compiled
from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import Triple

_PLAIN = (0, 0, 0, 0, 1, 1, 1, 0)
"""Intensities without effect."""


class MultiView:
    """Samples with view and target (B, 2, C, D, H, W) and local (B, locals, C, d, h, w); each volume is read once.

    Parameters
    ----------
    planner : ViewPlanner
    """

    names: tuple[str, ...] = ("view", "target", "local")
    inputs: tuple[str, ...] = ("globals", "locals", "swaps", "intensities", "counters")
    """Names of the inputs, with "holes" if the recipe has them."""

    def __init__(self, planner: Planner) -> None:
        self.planner, self.recipe = planner, planner.recipe
        self.arrays = max(GLOBALS, int(self.recipe.locals))
        if self.recipe.cutout:
            self.inputs = (*self.inputs, "holes")
        self._channels = planner.index.channels
        self.templates = Templates(planner.index, self.recipe.normalize, views=True)

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return the sections of view, target and local."""
        recipe, channels = self.recipe, self._channels
        views = (count, GLOBALS, channels, *recipe.shape)
        local = (count, recipe.locals, channels, *recipe.local_shape)
        return tuple(Section(*one, np.float32) for one in zip(self.names, (views, views, local), strict=True))

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return the sections of records (B, V, C, 32) of both kinds, swaps, intensities, counters, and any holes."""
        recipe, channels = self.recipe, self._channels
        drawn = Section("swaps", (count, GLOBALS, recipe.swap.iterations, 3, 3), np.int32)
        holes = (Section("holes", (count, GLOBALS, recipe.cutout[0], 3, 3), np.int32),) if recipe.cutout else ()
        return (
            Section("globals", (count, GLOBALS, channels, VIEW_WORDS), np.int64),
            Section("locals", (count, recipe.locals, channels, VIEW_WORDS), np.int64),
            *((drawn,) if swaps else ()),
            Section("intensities", (count, recipe.count, INTENSITIES), np.float32),
            Section("counters", (count, recipe.count, 2), np.int64),
            *holes,
        )

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Decode the box of sample i and interpolate all its views, in one compiled call."""
        assert isinstance(plans, ViewPlans)
        recipe = self.recipe
        box = np.frombuffer(scratch("decoded", 4 * raw.size), np.float32)
        first = plans.boxes[i, 0].astype(np.float64)
        lines = out["target"][i].reshape(-1), out["local"][i].reshape(-1)
        shapes = recipe.shape, recipe.local_shape, self._channels, channel
        _gather(*decode_arguments(raw, rescale), box, first, plans.matrices[i], plans.offsets[i], *shapes, *lines)

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Corrupt the views of sample i."""
        assert isinstance(plans, ViewPlans)
        assert plans.swaps is not None
        holes = () if plans.holes is None else plans.holes[i]
        drawn = plans.intensities[i], counters_of(plans)[i], plans.swaps[i], holes
        _complete_ref(out["target"][i], out["local"][i], *drawn, self.recipe, self.planner.seed, out["view"][i])

    def describe(self, plans: Plans, layout: VoxelLayout, out: Arrays) -> None:
        """Write the records, the swaps and the intensities."""
        assert isinstance(plans, ViewPlans)
        records = self.templates.take(plans, layout)
        words = records.view(np.int64).reshape(len(plans), 1, self._channels, VIEW_WORDS)
        for name, views in (("globals", slice(GLOBALS)), ("locals", slice(GLOBALS, None))):
            out[name][...] = words
            maps = plans.matrices[:, views], plans.offsets[:, views]
            place_views(out[name], layout.firsts, layout.strides, plans.boxes, *maps)
        if "swaps" in out and plans.swaps is not None:
            out["swaps"][...] = plans.swaps
        if plans.holes is not None:
            out["holes"][...] = plans.holes
        out["intensities"][...] = plans.intensities
        out["counters"][...] = counters_of(plans)

    def blank(self, out: Arrays) -> None:
        """Write records without voxels, and swaps and intensities without effect."""
        for array in out.values():
            array[...] = 0
        for name in ("swaps", "holes"):
            if name in out:
                out[name][..., 2, :] = 1
        out["intensities"][...] = _PLAIN

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, Any, Any]:
        """Gather and corrupt a batch on the GPU."""
        return finish_batch(inputs, recipe=self.recipe, seed=self.planner.seed, arena=arena)


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


def finish_batch_ref(inputs: Arrays, *, recipe: Views, seed: int) -> tuple[Floats, Floats, Floats]:
    """Make the views of a batch on the CPU; the definition of `finish_batch`."""
    target = gather_views_ref(inputs["raw"], inputs["globals"], recipe.shape)
    local = gather_views_ref(inputs["raw"], inputs["locals"], recipe.local_shape)
    view = np.empty_like(target)
    holes = inputs.get("holes", [()] * len(target))
    for i, drawn in enumerate(zip(inputs["intensities"], inputs["counters"], inputs["swaps"], holes, strict=True)):
        _complete_ref(target[i], local[i], *drawn, recipe, seed, view[i])
    return view, target, local


def counters_of(plans: Plans) -> npt.NDArray[np.int64]:
    """Return the counters of the noise, (B, V, 2): sample number and view number."""
    counters = np.empty((*plans.origins.shape[:2], 2), np.int64)
    counters[..., 0], counters[..., 1] = plans.numbers[:, None], np.arange(plans.origins.shape[1])
    return counters


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


def _complete_ref(
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
