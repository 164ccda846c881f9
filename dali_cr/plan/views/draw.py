"""Draw the views of samples: boxes, flips, angles, scales and intensities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import below, fill_words, unit
from dali_cr.plan.affine import Flags, Floats, Ints
from dali_cr.plan.foreground import LENGTHS, Sums, draw_origin
from dali_cr.plan.views.boxes import ROUNDS, draw_area, draw_inside, draw_second, partners
from dali_cr.plan.views.jitter import draw_jitter
from dali_cr.recipe.checks import AXES
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


def choices_of(recipe: Views) -> Choices:
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
        overlap=recipe.overlap,
        chance=recipe.foreground,
        flips=np.array([axis in recipe.flips for axis in AXES]),
        most=np.array(
            (
                (recipe.degrees, recipe.degrees * within, recipe.degrees * within),
                (recipe.scale * within, recipe.scale, recipe.scale),
                (recipe.blur * within, recipe.blur, recipe.blur),
            ),
            np.float64,
        ),
        noise=recipe.noise,
        gamma=recipe.gamma,
        isotropic=recipe.isotropic_blur,
        blurred=recipe.blur_probability,
        jitter=(recipe.brightness, recipe.contrast),
        areas=(recipe.area or none, recipe.local_area or none),
    )


def empty_draws(count: int, views: int) -> Drawn:
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


@compiled
def draw_views(
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
