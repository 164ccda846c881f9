"""`ViewPlanner`: plan multi-view samples as a pure function of (seed, n), the index and the recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index, refuse_empty
from dali_cr.plan.affine import Floats, Ints, compose, find_reach
from dali_cr.plan.foreground import ORIGIN_WORDS, SHAPE, Foreground, table_of
from dali_cr.plan.order.cases import Order
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.plans import Sampler, ViewPlans
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.views.draw import WORDS, Drawn, choices_of, draw_views, empty_draws
from dali_cr.plan.views.holes import draw_holes
from dali_cr.plan.views.jitter import WORDS as JITTER_WORDS
from dali_cr.plan.window import shape_at
from dali_cr.recipe.per_dataset import check_datasets, spacing_of
from dali_cr.recipe.views import GLOBALS, Views
from dali_cr.system.compiled import compiled


class ViewPlanner:
    """Plans multi-view samples of an index with a recipe and a seed.

    Parameters
    ----------
    index : Index
    recipe : Views
    seed : int
    weights : mapping of str to float, optional
        As in `CropPlanner`.

    Raises
    ------
    TypeError
        If the recipe is not `Views`.
    ValueError
        If the index is empty, the seed is not an unsigned 64-bit integer, or the weights are invalid.
    """

    def __init__(self, index: Index, recipe: Views, seed: int, weights: Weights | None = None) -> None:
        if not isinstance(recipe, Views):
            raise TypeError(f"recipe: expected dali_cr.Views, got {type(recipe).__name__}")
        refuse_empty(index)
        check_datasets(recipe, index)
        rng.check_seed(seed)
        self.index, self.recipe, self.seed = index, recipe, seed
        # One set of swaps per global view.
        self.sampler: Sampler = SwapSampler(seed, recipe.shape, recipe.swap, GLOBALS)
        self._order = Order(index, seed, recipe.crops_per_volume, weights=weights)
        self._foreground = Foreground(index)
        self._spacing = np.array([case.volumes[0].spacing for case in index.cases], np.float64)
        spacings = [spacing_of(recipe.spacing, case.dataset) for case in index.cases]
        units = [wanted or case.volumes[0].spacing for case, wanted in zip(index.cases, spacings, strict=True)]
        self._units = np.array(units, np.float64)
        lengths = np.array([shape_at(*each) for each in zip(index.cases, spacings, strict=True)], np.int64)
        self._table, self._factors = table_of(index, lengths), self._spacing / self._units
        self._shapes = (recipe.shape,) * GLOBALS + (recipe.local_shape,) * recipe.locals
        self._choices, self._views = choices_of(recipe), np.array(self._shapes, np.int64)

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return self._order.epoch_length

    @property
    def weights(self) -> dict[str, float] | None:
        """Weights of the data sets."""
        return self._order.weights

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> ViewPlans:
        """Plan samples; as `CropPlanner.plan`."""
        n = np.array(numbers, np.int64, ndmin=1)
        cases, attempts = self._order.choose(n, broken)
        sums = self._foreground.sums(cases if self.recipe.foreground else cases[:0])
        drawn, box = empty_draws(len(n), self.recipe.count), np.empty((2, 3), np.int64)
        counts = ORIGIN_WORDS, (self.recipe.count, WORDS), JITTER_WORDS
        words = tuple(np.empty(count, np.uint64) for count in counts)
        draw_views(np.uint64(self.seed), n, cases, self._choices, self._table, self._factors, sums, *words, box, drawn)
        # With the C library, one value at a time, because NumPy's results depend on the length of the array.
        drawn.intensities[..., 4] = _each(math.exp, drawn.logs)
        matrices, offsets, boxes = self._map(cases, drawn, box)
        cutout, shape = self.recipe.cutout, self.recipe.shape
        return ViewPlans(
            index=self.index,
            sampler=self.sampler,
            numbers=n,
            cases=cases,
            attempts=attempts,
            boxes=boxes,
            origins=drawn.origins,
            flips=drawn.flips,
            swaps=self.sampler.draw(n) if swaps else None,
            matrices=matrices,
            offsets=offsets,
            shapes=self._shapes,
            sizes=drawn.sizes,
            angles=drawn.angles,
            scales=drawn.scales,
            intensities=drawn.intensities,
            holes=draw_holes(self.seed, n, shape, cutout, GLOBALS) if cutout else None,
        )

    def _map(self, cases: Ints, drawn: Drawn, box: Ints) -> tuple[Floats, Floats, Ints]:
        """Return the maps of the views and the boxes of the volumes from which samples are made."""
        radians = drawn.angles * (math.pi / 180)
        cosines, sines = _each(math.cos, radians), _each(math.sin, radians)
        out = np.empty((*radians.shape, 3)), np.empty(radians.shape), np.empty((len(cases), 2, 3), np.int64)
        _map(cases, drawn, cosines, sines, self._views, self._table, self._units, self._spacing, box, out)
        for array in out[:2]:
            array.flags.writeable = False
        return out


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    """Apply a function to each number of an array."""
    return np.array([function(value) for value in values.ravel().tolist()]).reshape(values.shape)


@compiled
def _map(
    cases: Ints,
    drawn: Drawn,
    cosines: Floats,
    sines: Floats,
    shapes: Ints,
    table: Ints,
    units: Floats,
    spacing: Floats,
    box: Ints,
    out: tuple[Floats, Floats, Ints],
) -> None:
    """Write the maps of the views of a batch, and the boxes from which its samples are made."""
    matrices, offsets, boxes = out
    for i in range(cases.size):
        case = cases[i]
        for view in range(len(shapes)):
            compose(
                drawn.origins[i, view],
                drawn.sizes[i, view],
                drawn.flips[i, view],
                drawn.scales[i, view],
                cosines[i, view],
                sines[i, view],
                units[case],
                spacing[case],
                shapes[view],
                matrices[i, view],
                offsets[i, view],
            )
            find_reach(matrices[i, view], offsets[i, view], shapes[view], table[case, SHAPE], box)
            for axis in range(3):
                boxes[i, 0, axis] = min(box[0, axis], boxes[i, 0, axis]) if view else box[0, axis]
                boxes[i, 1, axis] = max(box[1, axis], boxes[i, 1, axis]) if view else box[1, axis]
