"""Batches that the CPU finishes: a thread reads, inflates, decodes and swaps a sample, several samples at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.erase import erase_in_place_ref
from dali_cr.ops.gather import gather_box
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.pipeline.memory import Memory, take
from dali_cr.pipeline.source import Arrays, Batch, Source, numbers_of
from dali_cr.plan import window
from dali_cr.plan.sample import SamplePlan, View
from dali_cr.read.boxes import read_boxes
from dali_cr.read.normalize import affine_map
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import crop_map


class PairSource(Source[Batch]):
    """Batches of finished samples: input and target (B, C, D, H, W), sample (B,) int64."""

    names, arrays = ("input", "target"), 3

    def blank(self) -> Arrays:
        """Return zeros."""
        pair = np.zeros((1, self.channels, *self.planner.recipe.crop), self.planner.recipe.dtype)
        return pair, pair, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], kept: Memory) -> Batch:
        shape = (len(plans), self.channels, *self.planner.recipe.crop)
        dtype = np.dtype(self.planner.recipe.dtype)
        return Batch(plans, (take(kept, 0, shape, dtype), take(kept, 1, shape, dtype), numbers_of(plans)))

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Read, decode and swap or erase in samples of one case."""
        case, recipe = self.case_of(batch.plans[group[0]]), self.planner.recipe
        views, there = {i: batch.plans[i].views[0] for i in group}, window.shape_at(case, self.planner.recipe.spacing)
        boxes = {i: window.reach(view, recipe.crop, case.shape, there) for i, view in views.items()}
        start, stop = window.around(boxes.values())
        fills = np.empty(len(case.volumes), recipe.dtype)
        for channel, volume, raw in read_boxes(self.cache, self.planner.index.root, case, start, stop):
            affine = affine_map(volume, recipe.normalize)
            fills[channel] = affine.fill
            for i, view in views.items():
                input, target = batch.arrays[0][i, channel], batch.arrays[1][i, channel]
                part = raw[window.slices(boxes[i], start)]
                if there != case.shape:
                    decoded = memory.take("decoded", part.shape, np.float32)
                    decode_channel(part, affine, decoded)
                    self._resample(decoded, boxes[i][0], affine.fill, view, (case.shape, there), target)
                    input[...] = target
                    continue
                first = [inside.start for inside in window.window(view, recipe.crop, case.shape)]
                decode_channel(window.flip(part, view), affine, target, input, first)
        for i, view in views.items():
            if recipe.pretext == "inpaint":
                erase_in_place_ref(batch.arrays[0][i], view.swaps, fills)
            else:
                swap_in_place_ref(batch.arrays[0][i], view.swaps)

    def _resample(
        self,
        decoded: npt.NDArray[np.float32],
        first: Triple,
        fill: float,
        view: View,
        shapes: tuple[Triple, Triple],
        out: npt.NDArray[Any],
    ) -> None:
        """Make a channel of a crop of the resampled grid.

        Parameters
        ----------
        decoded : (D, H, W) float32
            What of the volume the crop is made from.
        first : (3,) int
            The volume's voxel that is its first.
        fill : float
        view : View
        shapes : pair of (3,) int
            Of the volume and of the resampled grid.
        out : (D, H, W) float32 or float16
        """
        edges = self.planner.recipe.crop
        matrix, offset = crop_map(view.origin, view.flips, edges, *shapes)
        single = out.dtype == np.float32
        values = out if single else memory.take("single", edges, np.float32)
        gather_box(decoded, first, fill, matrix, offset, values, held=True)
        if not single:
            out[...] = values
