"""`ViewPlanner`: plan multi-view samples as a pure function of (seed, n), the index and the recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index, refuse_empty
from dali_cr.ops.cpu.philox import below, fill_words, unit
from dali_cr.plan.augment.holes import draw_holes
from dali_cr.plan.augment.jitter import WORDS as JITTER_WORDS
from dali_cr.plan.augment.jitter import draw_jitter
from dali_cr.plan.boxes import (
    ROUNDS,
    Flags,
    Floats,
    Ints,
    compose,
    draw_area,
    draw_inside,
    draw_second,
    find_reach,
    partners,
)
from dali_cr.plan.foreground import LENGTHS, ORIGIN_WORDS, SHAPE, Foreground, Sums, draw_origin, table_of
from dali_cr.plan.order.cases import Order
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.plans import Sampler, ViewPlans
from dali_cr.plan.swaps import SwapSampler
from dali_cr.plan.window import shape_at
from dali_cr.recipe.checks import AXES
from dali_cr.recipe.per_dataset import check_datasets, spacing_of
from dali_cr.recipe.views import GLOBALS, Views
from dali_cr.system.compiled import compiled

Singles = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint64]

_ORIGIN, _VIEW = int(rng.Purpose.ORIGIN), int(rng.Purpose.VIEW)

WORDS = 16
"""Random words per view: size, position (3), angles (3), scales (3), flips, blur (3), noise, exponent."""

_POSITION, _ANGLES, _SCALES, _FLIPS, _BLUR, _NOISE, _GAMMA = 1, 4, 7, 10, 11, 14, 15

INTENSITIES = 8
"""Numbers per view: see `ViewPlans.intensities`."""


class Choices(NamedTuple):
    """The ranges of a recipe from which views are drawn, as arrays and numbers.

    Attributes
    ----------
    sizes, local_sizes : (n, 3) int64
    seconds : (n, n) int64
    counts : (n,) int64
        From `partners`.
    overlap, chance : float
        Overlap of the second box, and probability that the first box is near the foreground.
    flips : (3,) bool
    most : (3, 3) float64
        Limits of the angles, the scales and the standard deviations of the blur, along D, H and W.
    noise, gamma : float
    isotropic : bool
        Whether the blur has one standard deviation for all axes.
    blurred : float
        Probability that a view is blurred.
    jitter : (2,) float
        Largest changes of brightness and contrast.
    areas : (2, 2) float
        Ranges of the share of the area of global and local boxes; 0 without them.
    """

    sizes: Ints
    local_sizes: Ints
    seconds: Ints
    counts: Ints
    overlap: float
    chance: float
    flips: Flags
    most: Floats
    noise: float
    gamma: float
    isotropic: bool
    blurred: float
    jitter: tuple[float, float]
    areas: tuple[tuple[float, float], tuple[float, float]]


class Drawn(NamedTuple):
    """Draws of a batch; see `ViewPlans`. `logs` (B, V) are the logarithms of the exponents."""

    origins: Ints
    sizes: Ints
    flips: Flags
    angles: Floats
    scales: Floats
    intensities: Singles
    logs: Floats


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
        self._choices, self._views = _choices(recipe), np.array(self._shapes, np.int64)

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
        drawn, box = _empty(len(n), self.recipe.count), np.empty((2, 3), np.int64)
        counts = ORIGIN_WORDS, (self.recipe.count, WORDS), JITTER_WORDS
        words = tuple(np.empty(count, np.uint64) for count in counts)
        _draw(np.uint64(self.seed), n, cases, self._choices, self._table, self._factors, sums, *words, box, drawn)
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


def _choices(recipe: Views) -> Choices:
    """Return the ranges of a recipe; 2-D views are rotated, scaled and blurred only within the slice."""
    none = (0.0, 0.0)
    sizes, local_sizes = ((recipe.shape,), (recipe.local_shape,)) if recipe.area else (recipe.sizes, recipe.local_sizes)
    seconds, counts = partners(sizes, recipe.overlap)
    within = 0.0 if recipe.flat else 1.0
    return Choices(
        sizes=np.array(sizes, np.int64),
        local_sizes=np.array(local_sizes, np.int64),
        seconds=seconds,
        counts=counts,
        overlap=float(recipe.overlap),
        chance=float(recipe.foreground),
        flips=np.array([axis in recipe.flips for axis in AXES]),
        most=np.array(
            (
                (recipe.degrees, recipe.degrees * within, recipe.degrees * within),
                (recipe.scale * within, recipe.scale, recipe.scale),
                (recipe.blur * within, recipe.blur, recipe.blur),
            ),
            np.float64,
        ),
        noise=float(recipe.noise),
        gamma=float(recipe.gamma),
        isotropic=recipe.isotropic_blur,
        blurred=float(recipe.blur_probability),
        jitter=(float(recipe.brightness), float(recipe.contrast)),
        areas=(_floats(recipe.area or none), _floats(recipe.local_area or none)),
    )


def _floats(pair: tuple[float, float]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _empty(count: int, views: int) -> Drawn:
    """Return uninitialised memory for a batch."""
    return Drawn(
        np.empty((count, views, 3), np.int64),
        np.empty((count, views, 3), np.int64),
        np.empty((count, views, 3), np.bool_),
        np.empty((count, views, 3)),
        np.empty((count, views, 3)),
        np.empty((count, views, INTENSITIES), np.float32),
        np.empty((count, views)),
    )


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    """Apply a function to each number of an array."""
    return np.array([function(value) for value in values.ravel().tolist()]).reshape(values.shape)


@compiled
def _draw(
    seed: np.uint64,
    numbers: Ints,
    cases: Ints,
    choices: Choices,
    table: Ints,
    factors: Floats,
    sums: Sums,
    words: Words,
    views: Words,
    jitter: Words,
    box: Ints,
    out: Drawn,
) -> None:
    """Draw the views of a batch into `out`."""
    for i in range(numbers.size):
        number, origins, sizes = np.uint64(numbers[i]), out.origins[i], out.sizes[i]
        case, first = table[cases[i]], sums.starts[cases[i]]
        fill_words(seed, number, 0, _ORIGIN, words)
        for view in range(len(views)):
            fill_words(seed, number, WORDS // 2 * view, _VIEW, views[view])
        by_area = choices.areas[0][1] > 0
        if by_area:
            for view in range(len(views)):
                area = choices.areas[0] if view < GLOBALS else choices.areas[1]
                draw_area(seed, number, view, area, case[LENGTHS], sizes[view])
        else:
            _draw_sizes(views, choices, sizes)
        draw_origin(words, case, factors[cases[i]], sizes[0], choices.chance, -1, sums.values, first, origins[0])
        if by_area:
            _draw_anywhere(views, case[LENGTHS], origins, sizes)
        else:
            draw_second(seed, number, origins, sizes, case[LENGTHS], choices.overlap, ROUNDS, box)
            for view in range(GLOBALS, len(views)):
                _draw_local(views[view], view, choices.local_sizes, case[LENGTHS], origins, sizes)
        for view in range(len(views)):
            flips, angles, scales = out.flips[i, view], out.angles[i, view], out.scales[i, view]
            own = out.intensities[i, view]
            _draw_turn(views[view], choices.flips, choices.most, choices.isotropic, flips, angles, scales, own)
            own[3] = choices.noise * unit(views[view, _NOISE])
            out.logs[i, view] = choices.gamma * (2 * unit(views[view, _GAMMA]) - 1)
            draw_jitter(seed, number, view, choices.blurred, choices.jitter, jitter, own[:3], own[5:])


@compiled
def _draw_sizes(views: Words, choices: Choices, sizes: Ints) -> None:
    """Draw the sizes of both global boxes, the second so that they can overlap."""
    one = below(views[0, 0], len(choices.sizes))
    two = choices.seconds[one, below(views[1, 0], choices.counts[one])]
    for axis in range(3):
        sizes[0, axis], sizes[1, axis] = choices.sizes[one, axis], choices.sizes[two, axis]


@compiled
def _draw_anywhere(views: Words, lengths: Ints, origins: Ints, sizes: Ints) -> None:
    """Draw the origins of all boxes but the first, anywhere in its slice."""
    for view in range(1, len(views)):
        origins[view, 0] = origins[0, 0]
        for axis in range(1, 3):
            word, length = views[view, _POSITION + axis], lengths[axis]
            origins[view, axis] = draw_inside(word, sizes[view, axis], 0, length, length)


@compiled
def _draw_local(words: Words, view: int, choices: Ints, lengths: Ints, origins: Ints, sizes: Ints) -> None:
    """Draw the box of a local view inside the smallest box around the global boxes."""
    which = below(words[0], len(choices))
    for axis in range(3):
        low = min(origins[0, axis], origins[1, axis])
        high = max(origins[0, axis] + sizes[0, axis], origins[1, axis] + sizes[1, axis])
        sizes[view, axis] = choices[which, axis]
        origins[view, axis] = draw_inside(words[_POSITION + axis], choices[which, axis], low, high, lengths[axis])


@compiled
def _draw_turn(
    words: Words,
    allowed: Flags,
    most: Floats,
    isotropic: bool,
    flips: Flags,
    angles: Floats,
    scales: Floats,
    blur: Singles,
) -> None:
    """Draw flips, angles, scales and blur of a view along each axis."""
    for axis in range(3):
        flips[axis] = allowed[axis] and words[_FLIPS] >> np.uint64(61 + axis) & np.uint64(1)
        angles[axis] = most[0, axis] * (2 * unit(words[_ANGLES + axis]) - 1)
        scales[axis] = 1 + most[1, axis] * (2 * unit(words[_SCALES + axis]) - 1)
        blur[axis] = most[2, axis] * unit(words[_BLUR if isotropic else _BLUR + axis])


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
