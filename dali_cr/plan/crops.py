"""What the crop of sample n is: a pure function of (seed, n), the index and the recipe; drawn for a batch at once."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index, refuse_empty
from dali_cr.index.values.statistics import cell_edge
from dali_cr.plan.foreground import Foreground
from dali_cr.plan.order import Order
from dali_cr.plan.plans import Plans
from dali_cr.plan.sample import SamplePlan, View
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.window import reach, shape_at
from dali_cr.recipe.checks import AXES
from dali_cr.recipe.restoration import Restoration
from dali_cr.volume.grid import crop_map

_ORIGIN_BLOCKS = 3
"""Philox blocks for an origin: whether in the foreground, which cell, three positions, one word unused."""


class CropPlanner:
    """Plans samples of one index by one recipe from one seed.

    Parameters
    ----------
    index : Index
    recipe : Restoration
    seed : int

    Attributes
    ----------
    index : Index
        With slices, its volumes are turned so that a slice is one voxel thick along D.

    Raises
    ------
    TypeError
        If the recipe is of another kind.
    ValueError
        If the index is empty, no slice is left, the seed is no 64-bit unsigned integer, or a volume's own spacing makes
        no sense where it is to be resampled.
    """

    def __init__(self, index: Index, recipe: Restoration, seed: int) -> None:
        if not isinstance(recipe, Restoration):
            raise TypeError(f"recipe: wanted dali_cr.Restoration, got {type(recipe).__name__}")
        refuse_empty(index)
        rng.check_seed(seed)
        self.recipe, self.seed = recipe, seed
        self.sampler = SwapSampler(seed, recipe.crop, recipe.swap)
        self._order = Order(index, seed, recipe.crops_per_volume, recipe.slices)
        self.index = recipe.slices.turn(index) if recipe.slices else index
        self._foreground = Foreground(self.index)
        self._lengths = np.array([shape_at(case, recipe.spacing) for case in self.index.cases])

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return self._order.epoch_length

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> Plans:
        """Plan samples.

        Parameters
        ----------
        numbers : (B,) int
            Sample numbers.
        broken : collection of int
            Places in the index of cases that cannot be read; their samples are drawn again from other cases.
        swaps : bool
            Draw the swaps now; without it, `Plans.swaps` is None.

        Returns
        -------
        plans : Plans

        Raises
        ------
        VolumeError
            If every case is broken.
        """
        n = np.atleast_1d(np.asarray(numbers, np.int64))
        drawn = np.array([self._order.choose(number, broken) for number in n.tolist()], np.int64).reshape(-1, 2)
        entries, attempts = drawn[:, 0], drawn[:, 1]
        cases = self._order.owners[entries]
        origins, flips = self._draw_origins(n, entries)[:, None], self._draw_flips(n)[:, None]
        crop, spacing = self.recipe.crop, self.recipe.spacing
        boxes, maps = [], []
        for case, origin, flip in zip(cases.tolist(), origins.tolist(), flips.tolist(), strict=True):
            own, there = self.index.cases[case].shape, tuple(self._lengths[case].tolist())
            view = View(tuple(origin[0]), tuple(flip[0]), np.empty((0, 3, 3), np.int32))
            boxes.append(reach(view, crop, own, there))
            maps.append(crop_map(view.origin, view.flips, crop, own, there))
        matrices, offsets = (np.array(part)[:, None] for part in zip(*maps, strict=True))
        return Plans(
            index=self.index,
            sampler=self.sampler,
            numbers=n,
            cases=cases,
            attempts=attempts,
            boxes=np.array(boxes),
            origins=origins,
            flips=flips,
            swaps=self.sampler.draw(n) if swaps else None,
            matrices=matrices if spacing else None,
            offsets=offsets if spacing else None,
        )

    def draw(self, numbers: npt.ArrayLike, broken: Collection[int] = ()) -> list[SamplePlan]:
        """Plan samples; `plan` as a list."""
        return list(self.plan(numbers, broken))

    def _draw_origins(self, numbers: npt.NDArray[np.int64], entries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Draw each crop's origin, in its slice if it has one: its centre from the foreground, or uniformly."""
        cases, planes = self._order.owners[entries], self._order.planes[entries]
        words = rng.draw_words(self.seed, numbers, rng.Purpose.ORIGIN, _ORIGIN_BLOCKS)
        crop, shapes, lengths = np.array(self.recipe.crop), self._foreground.shapes[cases], self._lengths[cases]
        spare = np.maximum(lengths - crop, 0)
        origins = rng.below(words[:, 2:5], spare + 1)
        inner = np.flatnonzero(rng.unit(words[:, 0]) < self.recipe.foreground)
        layers = None
        if self.recipe.slices:
            layers = planes // cell_edge(shapes[:, 0])
            # An empty slice may have no foreground near it.
            inner = inner[[self._foreground.occupies(int(cases[i]), int(layers[i])) for i in inner.tolist()]]
        if inner.size:
            own = None if layers is None else layers[inner]
            voxels = self._foreground.draw(cases[inner], words[inner, 1:5], own)
            centres = ((voxels + 0.5) * (lengths / shapes)[inner]).astype(np.int64)
            origins[inner] = np.clip(centres - crop // 2, 0, spare[inner])
        if self.recipe.slices:
            origins[:, 0] = planes
        return np.where(lengths < crop, -((crop - lengths) // 2), origins)

    def _draw_flips(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Draw which axes are flipped."""
        words = rng.draw_words(self.seed, numbers, rng.Purpose.FLIP, 1)[:, 0]
        bits = words[:, None] >> np.array([61, 62, 63], np.uint64) & np.uint64(1)
        axes = [AXES[axis] for axis in self.recipe.slices.order] if self.recipe.slices else AXES
        return np.asarray(bits.astype(bool) & np.array([axis in self.recipe.flips for axis in axes]))
