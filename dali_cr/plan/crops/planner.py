"""`CropPlanner`: plan crops as a pure function of (seed, n), the index and the recipe."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index, refuse_empty
from dali_cr.ops.cpu.philox import draw_pair, fill_words
from dali_cr.plan.affine import Flags, Floats, Ints, find_reach
from dali_cr.plan.crops.augmentation import draw_augmentation
from dali_cr.plan.crops.maps import CropMaps
from dali_cr.plan.crops.masks import make_sampler
from dali_cr.plan.foreground import EDGES, LENGTHS, ORIGIN_WORDS, SHAPE, Foreground, Sums, draw_origin, table_of
from dali_cr.plan.order.cases import Order
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.plans import Plans, Sampler
from dali_cr.plan.window import shape_at
from dali_cr.recipe.checks import AXES
from dali_cr.recipe.per_dataset import check_datasets, spacing_of
from dali_cr.recipe.restoration import Restoration
from dali_cr.system.compiled import compiled

_ORIGIN, _FLIP = int(rng.Purpose.ORIGIN), int(rng.Purpose.FLIP)


class Crops(NamedTuple):
    """Draws of a batch; see `Plans`. The last two are empty if crops are not interpolated."""

    origins: Ints
    flips: Flags
    boxes: Ints
    matrices: Floats
    offsets: Floats


class CropPlanner:
    """Plans crops of an index with a recipe and a seed.

    Parameters
    ----------
    index : Index
    recipe : Restoration
    seed : int
    weights : mapping of str to float, optional
        Share of samples of each data set; see `dali_cr.plan.order`.

    Attributes
    ----------
    index : Index
        The index; with slices, its volumes are reordered so that slices lie across D.

    Raises
    ------
    TypeError
        If the recipe is not `Restoration`.
    ValueError
        If the index is empty, there is no slice, the seed is not an unsigned 64-bit integer, the weights or values by
        data set are invalid, or a volume is resampled, rotated or scaled and its spacing is invalid.
    """

    def __init__(self, index: Index, recipe: Restoration, seed: int, weights: Weights | None = None) -> None:
        if not isinstance(recipe, Restoration):
            raise TypeError(f"recipe: expected dali_cr.Restoration, got {type(recipe).__name__}")
        refuse_empty(index)
        check_datasets(recipe, index)
        rng.check_seed(seed)
        self.recipe, self.seed = recipe, seed
        self.sampler: Sampler = make_sampler(recipe, seed)
        self._order = Order(index, seed, recipe.crops_per_volume, recipe.slices, weights)
        self.index = recipe.slices.turn(index) if recipe.slices else index
        self._foreground = Foreground(self.index)
        spacings = (spacing_of(recipe.spacing, case.dataset) for case in self.index.cases)
        lengths = np.array([shape_at(*each) for each in zip(self.index.cases, spacings, strict=True)], np.int64)
        shapes = np.array([case.shape for case in self.index.cases], np.int64)
        self._table, self._factors = table_of(self.index, lengths), lengths / shapes
        self._crop = np.array(recipe.crop, np.int64)
        self._maps = CropMaps(self.index, self._table) if recipe.affine else None
        axes = [AXES[axis] for axis in recipe.slices.order] if recipe.slices else AXES
        self._flips = np.array([axis in recipe.flips for axis in axes])

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return self._order.epoch_length

    @property
    def weights(self) -> dict[str, float] | None:
        """Weights of the data sets."""
        return self._order.weights

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> Plans:
        """Plan samples.

        Parameters
        ----------
        numbers : (B,) int
            Sample numbers.
        broken : collection of int
            Positions of unreadable cases in the index; their samples are redrawn from other cases.
        swaps : bool
            Draw the swaps now; if false, `Plans.swaps` is None.

        Returns
        -------
        plans : Plans

        Raises
        ------
        VolumeError
            If every case is broken.
        """
        n = np.array(numbers, np.int64, ndmin=1)
        entries, attempts = self._order.choose(n, broken)
        cases, interpolated = self._order.owners[entries], self.recipe.interpolated
        drawn = _empty(len(n), interpolated)
        _draw(
            np.uint64(self.seed),
            n,
            cases,
            self._order.planes[entries] if self.recipe.slices else _NOWHERE,
            self._crop,
            float(self.recipe.foreground),
            self._flips,
            self._table,
            self._factors,
            self._foreground.sums(cases if self.recipe.foreground else cases[:0]),
            np.empty(ORIGIN_WORDS, np.uint64),
            drawn,
        )
        augmentation = draw_augmentation(self.recipe, self.seed, n) if self.recipe.augmented else None
        if self._maps and augmentation:
            where = drawn.matrices, drawn.offsets, drawn.boxes
            self._maps.apply(cases, drawn.origins, drawn.flips, augmentation, *where)
        return Plans(
            index=self.index,
            sampler=self.sampler,
            numbers=n,
            cases=cases,
            attempts=attempts,
            boxes=drawn.boxes,
            origins=drawn.origins,
            flips=drawn.flips,
            swaps=self.sampler.draw(n) if swaps else None,
            matrices=drawn.matrices if interpolated else None,
            offsets=drawn.offsets if interpolated else None,
            augmentation=augmentation,
        )


_NOWHERE = np.empty(0, np.int64)
"""Empty slice numbers, for recipes without slices."""


def _empty(count: int, interpolated: bool) -> Crops:
    """Return uninitialised memory for a batch."""
    return Crops(
        np.empty((count, 1, 3), np.int64),
        np.empty((count, 1, 3), np.bool_),
        np.empty((count, 2, 3), np.int64),
        np.empty((count * interpolated, 1, 3, 3)),
        np.empty((count * interpolated, 1, 3)),
    )


@compiled
def _draw(
    seed: np.uint64,
    numbers: Ints,
    cases: Ints,
    planes: Ints,
    crop: Ints,
    chance: float,
    allowed: Flags,
    table: Ints,
    factors: Floats,
    sums: Sums,
    words: npt.NDArray[np.uint64],
    out: Crops,
) -> None:
    """Draw the crops of a batch into `out`, within their slices if the recipe has slices."""
    for i in range(numbers.size):
        number, case = np.uint64(numbers[i]), table[cases[i]]
        origin, flips, box = out.origins[i, 0], out.flips[i, 0], out.boxes[i]
        layer = planes[i] // case[EDGES, 0] if planes.size else -1
        fill_words(seed, number, 0, _ORIGIN, words)
        first = sums.starts[cases[i]]
        draw_origin(words, case, factors[cases[i]], crop, chance, layer, sums.values, first, origin)
        if planes.size:
            origin[0] = planes[i]
        word, _ = draw_pair(seed, number, 0, _FLIP)
        resampled = False
        for axis in range(3):
            flips[axis] = allowed[axis] and word >> np.uint64(61 + axis) & np.uint64(1)
            box[0, axis] = max(0, origin[axis])
            box[1, axis] = min(case[SHAPE, axis], origin[axis] + crop[axis])
            resampled = resampled or case[SHAPE, axis] != case[LENGTHS, axis]
        if out.matrices.size:
            _map(origin, flips, crop, case, out.matrices[i, 0], out.offsets[i, 0])
        if resampled:
            find_reach(out.matrices[i, 0], out.offsets[i, 0], crop, case[SHAPE], box)


@compiled
def _map(origin: Ints, flips: Flags, crop: Ints, case: Ints, matrix: Floats, offset: Floats) -> None:
    """Write the map from voxels of an unrotated crop to voxels of the volume; see `dali_cr.volume.grid.crop_map`."""
    for axis in range(3):
        for column in range(3):
            matrix[axis, column] = 0.0
        step = case[SHAPE, axis] / case[LENGTHS, axis]
        first = origin[axis] + crop[axis] - 1 if flips[axis] else origin[axis]
        matrix[axis, axis] = -step if flips[axis] else step
        offset[axis] = (first + 0.5) * step - 0.5
