"""`Pairs`: samples of `Restoration`, with a crop as target and a copy with swapped, erased or masked patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.erase import erase_line
from dali_cr.ops.records.crops import place_crops
from dali_cr.ops.records.layout import CLAMPED, NEAREST, RECORD_WORDS, VIEW_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import place_views
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.pairs.cpu import make_channel, make_valid
from dali_cr.pipeline.pairs.gpu import find_valid, finish_batch
from dali_cr.pipeline.samples import Arrays, Templates, VoxelLayout
from dali_cr.plan.plans import Planner, Plans

INTENSITIES = ("stds", "exponents", "counters")
"""Names of the GPU's inputs for noise and gamma."""


class Pairs:
    """Samples with input and target (B, C, D, H, W), and for masked samples a mask (B, 1, D, H, W) uint8, 1 if masked.

    Parameters
    ----------
    planner : CropPlanner
    masks : bool
        Whether to use the anonymisation masks of cases, if there are any: "valid" (B, 1, D, H, W) uint8 is then 0 where
        the mask is not 0 in the target, and 1 elsewhere, also outside of the volume.
    """

    names: tuple[str, ...] = ("input", "target")
    inputs: tuple[str, ...] = ("records", "swaps")
    """Names of the inputs, with `INTENSITIES` if there is noise or gamma."""
    arrays = 1

    def __init__(self, planner: Planner, *, masks: bool = True) -> None:
        self.planner, self.recipe = planner, planner.recipe
        if self.recipe.pretext == "mae":
            self.names = (*self.names, "mask")
        if self.recipe.intensity:
            self.inputs = (*self.inputs, *INTENSITIES)
        self._channels = planner.index.channels
        self.templates = Templates(planner.index, self.recipe.normalize, views=self.recipe.interpolated, masks=masks)
        if self.templates.masks:
            self.names = (*self.names, "valid")

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return the sections of input and target, of the mask for masked samples, and of valid voxels."""
        crop, dtype = self.recipe.crop, self.recipe.dtype
        pair = tuple(Section(name, (count, self._channels, *crop), dtype) for name in Pairs.names)
        return (*pair, *(Section(name, (count, 1, *crop), np.uint8) for name in self.names[len(pair) :]))

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return the sections of records (B, C, 16), or (B, C, 32) if interpolated, of boxes, and of intensities."""
        words = VIEW_WORDS if self.recipe.interpolated else RECORD_WORDS
        sections = [Section("records", (count, self.templates.index.channels, words), np.int64)]
        if swaps:
            sections.append(Section("swaps", (count, self.planner.sampler.boxes, 3, 3), np.int32))
        if self.recipe.intensity:
            sections.append(Section("stds", (count, self._channels), np.float32))
            sections.append(Section("exponents", (count,), np.float32))
            sections.append(Section("counters", (count, self._channels, 2), np.int64))
        return tuple(sections)

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Decode one channel of sample i, resample it if required, and corrupt the input: intensities, then patches."""
        if channel == self._channels:
            make_valid(self.recipe, plans, i, raw, rescale, out["valid"][i, 0])
            return
        target, input = out["target"][i, channel], out["input"][i, channel]
        make_channel(self.recipe, self.planner.seed, plans, i, channel, raw, rescale, target, input)

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Write the mask of sample i."""
        if "mask" in self.names:
            assert plans.swaps is not None
            mask = out["mask"][i]
            mask[...] = 0
            erase_line(mask.reshape(-1), self.recipe.crop, plans.swaps[i], np.ones(1, np.uint8))

    def describe(self, plans: Plans, layout: VoxelLayout, out: Arrays) -> None:
        """Write the records and boxes of a batch."""
        records, recipe = self.templates.take(plans, layout), self.recipe
        words = records.view(np.int64).reshape(*records.shape, -1)
        if plans.matrices is None or plans.offsets is None:
            itemsizes, shapes = self.templates.itemsizes[plans.cases], self.templates.shapes[plans.cases]
            where = plans.origins[:, 0], plans.flips[:, 0], recipe.crop
            place_crops(words, layout.firsts, layout.strides, itemsizes, *where, shapes)
        else:
            modes = np.full(records.shape[1], CLAMPED, np.int64)
            if self.templates.masks:
                modes[-1] = NEAREST
            maps = plans.boxes, plans.matrices, plans.offsets
            place_views(words[:, None], layout.firsts, layout.strides, *maps, modes)
        out["records"][...] = words
        if plans.augmentation and "counters" in out:
            out["stds"][...] = plans.augmentation.stds[:, None]
            out["exponents"][...] = plans.augmentation.exponents
            out["counters"][..., 0], out["counters"][..., 1] = plans.numbers[:, None], np.arange(self._channels)
        if "swaps" in out and plans.swaps is not None:
            out["swaps"][...] = plans.swaps[:, 0]

    def blank(self, out: Arrays) -> None:
        """Write records without voxels, swaps without effect, and intensities without effect."""
        for array in out.values():
            array[...] = 0
        if "swaps" in out:
            out["swaps"][..., 2, :] = 1
        if "exponents" in out:
            out["exponents"][...] = 1

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, ...]:
        """Decode and sample a batch into target and input, and corrupt the input: intensities, then patches."""
        valid: tuple[Any, ...] = ()
        if self.templates.masks:
            records = inputs["records"]
            valid = (find_valid(inputs["raw"], records[:, -1:].copy(), self.recipe, arena=arena),)
            inputs = inputs | {"records": records[:, :-1].copy()}
        return *finish_batch(inputs, recipe=self.recipe, seed=self.planner.seed, arena=arena), *valid
