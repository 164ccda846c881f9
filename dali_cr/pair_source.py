"""Batches that the CPU finishes: a thread reads, inflates, decodes and swaps a sample, several samples at a time."""

from __future__ import annotations

import numpy as np

from dali_cr import crop
from dali_cr.normalize import affine_map
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.plan import SamplePlan
from dali_cr.source import Arrays, Batch, Memory, Source, numbers_of, take


class PairSource(Source[Batch]):
    """Batches of finished samples: disordered and target (B, C, D, H, W), sample (B,) int64."""

    def blank(self) -> Arrays:
        """Return zeros."""
        pair = np.zeros((1, self.channels, *self.planner.recipe.crop), self.planner.recipe.dtype)
        return pair, pair, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], memory: Memory) -> Batch:
        shape = (len(plans), self.channels, *self.planner.recipe.crop)
        dtype = np.dtype(self.planner.recipe.dtype)
        return Batch(plans, (take(memory, 0, shape, dtype), take(memory, 1, shape, dtype), numbers_of(plans)))

    def _fill(self, batch: Batch, i: int) -> None:
        disordered, target = batch.arrays[0][i], batch.arrays[1][i]
        view, case, recipe = batch.plans[i].views[0], self.case_of(batch.plans[i]), self.planner.recipe
        out = target if target.dtype == np.float32 else np.empty(target.shape, np.float32)
        for channel, volume, raw in self.boxes(case, *crop.box(view, recipe.crop, case.shape)):
            affine = affine_map(volume, recipe.normalize)
            if raw.shape != recipe.crop:
                out[channel] = affine.fill
            decode_channel(crop.flip(raw, view), affine, out[channel][crop.window(view, recipe.crop, volume.shape)])
        if out is not target:
            target[...] = out
        disordered[...] = target
        swap_in_place_ref(disordered, view.swaps)
