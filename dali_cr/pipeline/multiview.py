"""Batches of multi-view samples; the volume is read once for all views of a sample.

On a CPU a thread decodes the box that the views reach, once, and finishes them. For a GPU it copies the box, raw, into
the batch, beside one record for each view; `finish_views` does the rest there, in a few launches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.blur import blur, blur_ref
from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.gamma import gamma, gamma_ref
from dali_cr.ops.gather import RECORD_WORDS, gather_box, gather_views, gather_views_ref, make_gather_record
from dali_cr.ops.launch import as_batch
from dali_cr.ops.noise import add_noise, add_noise_ref
from dali_cr.ops.swap import swap_in_place, swap_in_place_ref
from dali_cr.ops.zscore import zscore, zscore_ref
from dali_cr.pipeline.memory import Memory, take
from dali_cr.pipeline.raw import RawBatch, RawSource
from dali_cr.pipeline.source import Arrays, Batch, Source, numbers_of
from dali_cr.plan import window
from dali_cr.plan.sample import AffineView, SamplePlan, views_of
from dali_cr.read.boxes import read_boxes
from dali_cr.read.gpu_cache import Arena, padded
from dali_cr.read.normalize import affine_map
from dali_cr.recipe.views import GLOBALS, Views
from dali_cr.volume.geometry import Triple

NAMES = ("view", "target", "local")
"""What a batch has for the network."""

INTENSITIES = 5
"""Numbers of a view: three deviations of the blur, that of the noise, and the exponent."""


class ViewPairSource(Source[Batch]):
    """Batches of finished samples.

    view and target (B, 2, C, D, H, W), local (B, locals, C, d, h, w), sample (B,) int64.
    """

    names, arrays = NAMES, 4

    def blank(self) -> Arrays:
        """Return zeros."""
        views, local = (np.zeros(shape, np.float32) for shape in _shapes(self.planner.recipe, 1, self.channels))
        return views, views, local, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], kept: Memory) -> Batch:
        views, local = _shapes(self.planner.recipe, len(plans), self.channels)
        single = np.dtype(np.float32)
        arrays = (take(kept, place, shape, single) for place, shape in enumerate((views, views, local)))
        return Batch(plans, (*arrays, numbers_of(plans)))

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Read a case once and make all views of its samples."""
        case = self.case_of(batch.plans[group[0]])
        view, target, local = batch.arrays[:3]
        boxes = {i: window.reach_of(batch.plans[i], case.shape) for i in group}
        start, stop = window.around(boxes.values())
        for channel, volume, raw in read_boxes(self.cache, self.planner.index.root, case, start, stop):
            affine = affine_map(volume, self.planner.recipe.normalize)
            for i, own in boxes.items():
                part = raw[window.slices(own, start)]
                box = memory.take("decoded", part.shape, np.float32)
                decode_channel(part, affine, box)
                for v, one in enumerate(views_of(batch.plans[i])):
                    out = target[i, v, channel] if v < GLOBALS else local[i, v - GLOBALS, channel]
                    gather_box(box, own[0], affine.fill, one.matrix, one.offset, out)
        for i in group:
            plan = batch.plans[i]
            numbers, counters, seed = intensities_of(views_of(plan)), counters_of(plan), self.planner.seed
            swaps = [one.swaps for one in plan.views[:GLOBALS]]
            corrupt_ref(target[i], numbers[:GLOBALS], seed, counters[:GLOBALS], swaps, view[i])
            corrupt_ref(local[i], numbers[GLOBALS:], seed, counters[GLOBALS:], (), local[i])


class ViewRawSource(RawSource):
    """Batches of multi-view samples for a GPU.

    raw (B, bytes) uint8, records of the global and of the local views (B, views, C, 32) int64, swaps (B, 2, T, 3, 3)
    int32, intensities (B, views, 5) float32, counters (B, views, 2) int64, sample (B,) int64.
    """

    names, arrays = NAMES, 7

    @property
    def _views(self) -> int:
        return max(GLOBALS, int(self.planner.recipe.locals))

    def blank(self) -> Arrays:
        """Return records without voxels, swaps that move nothing, and intensities that change nothing."""
        recipe = self.planner.recipe
        records = (np.zeros((1, n, self.channels, RECORD_WORDS), np.int64) for n in (GLOBALS, recipe.locals))
        swaps = np.zeros((1, GLOBALS, recipe.swap.iterations, 3, 3), np.int32)
        swaps[..., 2, :] = 1
        intensities = np.zeros((1, recipe.count, INTENSITIES), np.float32)
        intensities[..., -1] = 1  # no blur: one wider than the recipe's would stop the kernel
        counters = np.zeros((1, recipe.count, 2), np.int64)
        self._announce([])
        return np.zeros((1, padded(1)), np.uint8), *records, swaps, intensities, counters, np.full(1, -1)

    def _numbers(self, plans: list[SamplePlan]) -> Arrays:
        count, recipe = len(plans), self.planner.recipe
        records = (np.zeros((count, n, self.channels, RECORD_WORDS), np.int64) for n in (GLOBALS, recipe.locals))
        swaps = np.stack([[view.swaps for view in plan.views[:GLOBALS]] for plan in plans])
        intensities = np.stack([intensities_of(views_of(plan)) for plan in plans])
        return *records, swaps, intensities, np.stack([counters_of(plan) for plan in plans])

    def _box(self, plan: SamplePlan) -> tuple[Triple, Triple]:
        return window.reach_of(plan, self.case_of(plan).shape)

    def _record(
        self,
        batch: RawBatch,
        i: int,
        channel: int,
        first: int,
        strides: Triple,
        box: tuple[Triple, Triple],
        *,
        in_arena: bool = False,
    ) -> None:
        plan = batch.plans[i]
        volume = self.case_of(plan).volumes[channel]
        affine = affine_map(volume, self.planner.recipe.normalize)
        for v, view in enumerate(views_of(plan)):
            records = batch.arrays[1][i, v] if v < GLOBALS else batch.arrays[2][i, v - GLOBALS]
            records[channel] = make_gather_record(
                dtype=volume.dtype,
                big_endian=volume.geometry.big_endian,
                first_byte=first,
                itemsize=volume.geometry.itemsize,
                strides=strides,
                lo=box[0],
                hi=box[1],
                affine=affine,
                matrix=view.matrix,
                offset=view.offset,
                in_arena=in_arena,
            )


def intensities_of(views: Iterable[AffineView]) -> npt.NDArray[np.float32]:
    """Return for each view the deviations of the blur, that of the noise, and the exponent: (views, 5)."""
    return np.array([(*view.blur, view.noise, view.gamma) for view in views], np.float32)


def counters_of(plan: SamplePlan) -> npt.NDArray[np.int64]:
    """Return what each view's noise is drawn for: (views, 2), the sample number and the view's."""
    return np.array([(plan.number, v) for v in range(len(plan.views))], np.int64)


def _shapes(recipe: Views, samples: int, channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a batch's global and local views."""
    return (samples, GLOBALS, channels, *recipe.shape), (samples, recipe.locals, channels, *recipe.local_shape)


def corrupt_ref(
    clean: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.float32],
    seed: int,
    counters: npt.NDArray[np.int64],
    swaps: Iterable[npt.NDArray[np.int32]],
    out: npt.NDArray[np.float32],
) -> None:
    """Blur views, add noise, raise them to a power, swap patches and z-score them, on the CPU.

    Parameters
    ----------
    clean : (N, C, D, H, W) float32
    numbers : (N, 5) float32
        As `intensities_of` gives them.
    seed : int
    counters : (N, 2) int64
        As `counters_of` gives them.
    swaps : iterable of (T, 3, 3) int32
        For the first views; the others are not swapped.
    out : as `clean`
        Gets the result; may be `clean`.
    """
    blur_ref(clean, numbers[:, :3], out)
    add_noise_ref(out, numbers[:, 3], seed, counters, out)
    gamma_ref(out, numbers[:, 4], out)
    for array, own in zip(out, swaps, strict=False):
        swap_in_place_ref(array, own)
    zscore_ref(out, out)


def finish_views(
    raw: list[Any],
    globals_: list[Any],
    locals_: list[Any],
    swaps: list[Any],
    intensities: list[Any],
    counters: list[Any],
    *,
    recipe: Views,
    seed: int,
    arena: Arena | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Make a batch's views from what a `ViewRawSource` gives, on the GPU.

    Parameters
    ----------
    raw : list of B (bytes,) uint8
    globals_, locals_ : list of B (views, C, 32) int64
    swaps : list of B (2, T, 3, 3) int32
    intensities : list of B (views, 5) float32
    counters : list of B (views, 2) int64
    recipe : Views
    seed : int
        Of the noise.
    arena : Arena, optional
        Takes the volumes that this batch brings, and is read in place.

    Returns
    -------
    view, target, local : list of B arrays
    """
    rows, kept = as_batch(raw), None
    if arena:
        arena.upload(rows)
        kept = arena.memory
    target = gather_views(rows, as_batch(globals_), recipe.shape, arena=kept)
    local = gather_views(rows, as_batch(locals_), recipe.local_shape, arena=kept)
    numbers, places = as_batch(intensities), as_batch(counters)
    view = _corrupt(target, numbers[:, :GLOBALS], seed, places[:, :GLOBALS], recipe.blur, as_batch(swaps))
    local = _corrupt(local, numbers[:, GLOBALS:], seed, places[:, GLOBALS:], recipe.blur)
    return list(view), list(target), list(local)


def finish_views_ref(
    raw: list[Any],
    globals_: list[Any],
    locals_: list[Any],
    swaps: list[Any],
    intensities: list[Any],
    counters: list[Any],
    *,
    recipe: Views,
    seed: int,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Make a batch's views on the CPU; the definition of `finish_views`."""
    rows = np.stack(raw)
    target = gather_views_ref(rows, np.stack(globals_), recipe.shape)
    local = gather_views_ref(rows, np.stack(locals_), recipe.local_shape)
    view = np.empty_like(target)
    for i, (numbers, places) in enumerate(zip(intensities, counters, strict=True)):
        corrupt_ref(target[i], numbers[:GLOBALS], seed, places[:GLOBALS], swaps[i], view[i])
        corrupt_ref(local[i], numbers[GLOBALS:], seed, places[GLOBALS:], (), local[i])
    return list(view), list(target), list(local)


def _corrupt(clean: Any, numbers: Any, seed: int, counters: Any, most: float, swaps: Any = None) -> Any:
    """Return views (B, V, C, D, H, W), corrupted."""
    numbers = numbers.reshape(-1, INTENSITIES)
    sigmas, deviations, exponents = (numbers[:, part].copy() for part in (slice(3), 3, 4))
    # The largest that a deviation can be once it is a float32.
    radius = int(4 * float(np.float32(most)) + 0.5)
    views = blur(clean.reshape(-1, *clean.shape[2:]), sigmas, radius)
    add_noise(views, deviations, seed, counters.reshape(-1, 2).copy())
    gamma(views, exponents)
    if swaps is not None:
        swap_in_place(views, swaps.reshape(len(views), *swaps.shape[2:]))
    return zscore(views).reshape(clean.shape)
