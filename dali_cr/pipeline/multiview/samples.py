"""`MultiView`: samples of `Views`, with two corrupted global views, their clean targets, and local views."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.records.layout import VIEW_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import place_views
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.multiview.cpu import corrupt_sample, gather_sample
from dali_cr.pipeline.multiview.gpu import finish_batch
from dali_cr.pipeline.samples import Arrays, Templates, VoxelLayout
from dali_cr.plan.plans import Planner, Plans, ViewPlans
from dali_cr.plan.views.draw import INTENSITIES
from dali_cr.recipe.views import GLOBALS

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
        gather_sample(self.recipe, plans, i, channel, raw, rescale, out["target"][i], out["local"][i])

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Corrupt the views of sample i."""
        assert isinstance(plans, ViewPlans)
        assert plans.swaps is not None
        holes = () if plans.holes is None else plans.holes[i]
        drawn = plans.intensities[i], counters_of(plans)[i], plans.swaps[i], holes
        corrupt_sample(out["target"][i], out["local"][i], *drawn, self.recipe, self.planner.seed, out["view"][i])

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


def counters_of(plans: Plans) -> npt.NDArray[np.int64]:
    """Return the counters of the noise, (B, V, 2): sample number and view number."""
    counters = np.empty((*plans.origins.shape[:2], 2), np.int64)
    counters[..., 0], counters[..., 1] = plans.numbers[:, None], np.arange(plans.origins.shape[1])
    return counters
