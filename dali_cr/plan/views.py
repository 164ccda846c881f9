"""What the views of sample n are: a pure function of (seed, n), the index and the recipe."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index, refuse_empty
from dali_cr.plan.boxes import Floats, Ints, Words, compose, draw_inside, draw_second, partners, reach, room
from dali_cr.plan.foreground import Foreground
from dali_cr.plan.order import Order
from dali_cr.plan.plans import ViewPlans
from dali_cr.plan.sample import SamplePlan
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.window import around, shape_at
from dali_cr.recipe.checks import AXES
from dali_cr.recipe.views import GLOBALS, Views

_VIEW_BLOCKS = 8
"""Philox blocks a view: words for its size, position, angles, factors, flips, blur, noise and gamma; see `_WORDS`."""

_ORIGIN_BLOCKS = 3

_WORDS = {
    "size": slice(0, 1),
    "position": slice(1, 4),
    "angles": slice(4, 7),
    "scales": slice(7, 10),
    "flips": slice(10, 11),
    "blur": slice(11, 14),
    "noise": slice(14, 15),
    "gamma": slice(15, 16),
}


class _Turns(NamedTuple):
    """How the views of a batch are flipped, turned and stretched; all (B, V, 3) but for the matrices."""

    flips: npt.NDArray[np.bool_]
    angles: Floats
    scales: Floats
    matrices: Floats
    offsets: Floats


class ViewPlanner:
    """Plans multi-view samples of one index by one recipe from one seed.

    Parameters
    ----------
    index : Index
    recipe : Views
    seed : int

    Raises
    ------
    TypeError
        If the recipe is of another kind.
    ValueError
        If the index is empty or the seed no 64-bit unsigned integer.
    """

    def __init__(self, index: Index, recipe: Views, seed: int) -> None:
        if not isinstance(recipe, Views):
            raise TypeError(f"recipe: wanted dali_cr.Views, got {type(recipe).__name__}")
        refuse_empty(index)
        rng.check_seed(seed)
        self.index, self.recipe, self.seed = index, recipe, seed
        self._order, self._foreground = Order(index, seed, recipe.crops_per_volume), Foreground(index)
        self._lengths = np.array([shape_at(case, recipe.spacing) for case in index.cases])
        self._spacing = np.array([case.volumes[0].spacing for case in index.cases], np.float64)
        self._units = self._spacing if recipe.spacing is None else np.array([recipe.spacing] * len(index), np.float64)
        # Twice as many swaps, half of them for each global view.
        self.sampler = SwapSampler(seed, recipe.shape, recipe.swap, GLOBALS)
        self._shapes = (recipe.shape,) * GLOBALS + (recipe.local_shape,) * recipe.locals
        self._partners = partners(recipe.sizes, recipe.overlap)

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return self._order.epoch_length

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> ViewPlans:
        """Plan samples; as `CropPlanner.plan`."""
        n = np.atleast_1d(np.asarray(numbers, np.int64))
        drawn = np.array([self._order.choose(number, broken) for number in n.tolist()], np.int64).reshape(-1, 2)
        cases, recipe = drawn[:, 0], self.recipe
        words = rng.draw_words(self.seed, n, rng.Purpose.VIEW, _VIEW_BLOCKS * recipe.count)
        words = words.reshape(len(n), recipe.count, 2 * _VIEW_BLOCKS)
        origins, sizes = self._draw_boxes(n, cases.tolist(), words)
        turns = self._draw_turns(cases.tolist(), words, origins, sizes)
        boxes = []
        for i, case in enumerate(cases.tolist()):
            own = self.index.cases[case].shape
            views = zip(turns.matrices[i], turns.offsets[i], self._shapes, strict=True)
            boxes.append(around([reach(matrix, offset, shape, own) for matrix, offset, shape in views]))
        return ViewPlans(
            index=self.index,
            sampler=self.sampler,
            numbers=n,
            cases=cases,
            attempts=drawn[:, 1],
            boxes=np.array(boxes),
            origins=origins,
            flips=turns.flips,
            swaps=self.sampler.draw(n) if swaps else None,
            matrices=turns.matrices,
            offsets=turns.offsets,
            shapes=self._shapes,
            sizes=sizes,
            angles=turns.angles,
            scales=turns.scales,
            intensities=self._draw_intensities(words),
        )

    def draw(self, numbers: npt.ArrayLike, broken: Collection[int] = ()) -> list[SamplePlan]:
        """Plan samples; `plan` as a list."""
        return list(self.plan(numbers, broken))

    def _draw_boxes(self, n: Ints, cases: list[int], words: Words) -> tuple[Ints, Ints]:
        """Draw the box of each view: origins and sizes (B, V, 3), in voxels of the recipe's spacing."""
        table, counts = self._partners
        globals_, locals_ = np.array(self.recipe.sizes), np.array(self.recipe.local_sizes)
        lengths = self._lengths[cases]
        sizes = np.empty((*words.shape[:2], 3), np.int64)
        origins = np.empty_like(sizes)
        which = rng.below(words[:, 0, 0], len(globals_))
        sizes[:, 0] = globals_[which]
        origins[:, 0] = self._draw_first(n, cases, sizes[:, 0])
        sizes[:, 1] = globals_[table[which, rng.below(words[:, 1, 0], counts[which])]]
        first = origins[:, 0], sizes[:, 0]
        origins[:, 1] = draw_second(self.seed, n, first, sizes[:, 1], lengths, self.recipe.overlap)
        low = origins[:, :GLOBALS].min(1)[:, None]
        high = (origins + sizes)[:, :GLOBALS].max(1)[:, None]
        inner = words[:, GLOBALS:]
        sizes[:, GLOBALS:] = locals_[rng.below(inner[..., 0], len(locals_))]
        position = inner[..., _WORDS["position"]]
        origins[:, GLOBALS:] = draw_inside(position, sizes[:, GLOBALS:], low, high, lengths[:, None])
        return origins, sizes

    def _draw_first(self, n: Ints, cases: list[int], sizes: Ints) -> Ints:
        """Draw the first box of each sample: its centre from the foreground, or its origin uniformly."""
        words = rng.draw_words(self.seed, n, rng.Purpose.ORIGIN, _ORIGIN_BLOCKS)
        first, last = room(sizes, self._lengths[cases])
        origins = first + rng.below(words[:, 2:5], last - first + 1)
        inner = np.flatnonzero(rng.unit(words[:, 0]) < self.recipe.foreground)
        if inner.size:
            own = np.array(cases, np.int64)[inner]
            voxels = self._foreground.draw(own, words[inner, 1:5])
            centres = np.floor((voxels + 0.5) * (self._spacing[own] / self._units[own])).astype(np.int64)
            origins[inner] = np.clip(centres - sizes[inner] // 2, first[inner], last[inner])
        return np.asarray(origins)

    def _draw_turns(self, cases: list[int], words: Words, origins: Ints, sizes: Ints) -> _Turns:
        """Draw how each view is flipped, turned and stretched."""
        recipe = self.recipe
        bits = words[..., _WORDS["flips"]] >> np.array([61, 62, 63], np.uint64) & np.uint64(1)
        flips = bits.astype(bool) & np.array([axis in recipe.flips for axis in AXES])
        turned, stretched = (np.array(axes) for axes in ((1, 0, 0), (0, 1, 1))) if recipe.flat else (1, 1)
        angles = recipe.degrees * _around_zero(words[..., _WORDS["angles"]]) * turned
        scales = 1 + recipe.scale * _around_zero(words[..., _WORDS["scales"]]) * stretched
        spacing, units = self._spacing[cases][:, None], self._units[cases][:, None]
        matrices, offsets = np.empty((*sizes.shape, 3)), np.empty(sizes.shape)
        for part, shape in ((slice(GLOBALS), recipe.shape), (slice(GLOBALS, None), recipe.local_shape)):
            centres = origins[:, part] + (sizes[:, part] - 1) / 2
            if recipe.spacing is not None:
                centres = (centres + 0.5) * (units / spacing) - 0.5
            steps = sizes[:, part] / np.array(shape) / scales[:, part] * np.where(flips[:, part], -1.0, 1.0)
            radians = angles[:, part] * (math.pi / 180)
            matrices[:, part], offsets[:, part] = compose(centres, steps, radians, units, spacing, shape)
        for array in (matrices, offsets):
            array.flags.writeable = False
        return _Turns(flips, angles, scales, matrices, offsets)

    def _draw_intensities(self, words: Words) -> npt.NDArray[np.float32]:
        """Draw for each view three deviations of the blur, that of the noise, and the exponent, all of float32."""
        recipe = self.recipe
        blur = recipe.blur * rng.unit(words[..., _WORDS["blur"]]) * (np.array((0, 1, 1)) if recipe.flat else 1)
        noise = recipe.noise * rng.unit(words[..., _WORDS["noise"]])
        logs = recipe.gamma * _around_zero(words[..., _WORDS["gamma"]])
        exponents = np.array([math.exp(value) for value in logs.ravel().tolist()]).reshape(logs.shape)
        return np.concatenate([blur, noise, exponents], axis=-1).astype(np.float32)


def _around_zero(words: Words) -> Floats:
    """Map words to floats uniform over [-1, 1)."""
    return 2 * rng.unit(words) - 1
