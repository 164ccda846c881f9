"""Draw the sizes and origins of the boxes of views.

The functions are compiled and process one sample or view at a time, so that results do not depend on the batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dali_cr import rng
from dali_cr.ops.cpu.elementary import exp_double
from dali_cr.ops.cpu.philox import below, draw_pair, unit
from dali_cr.plan.affine import Ints
from dali_cr.plan.window import room
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

ROUNDS = 64
"""Largest number of rounds for a second box; all of them fail with a probability below 1e-80."""

_CANDIDATES = 16
"""Candidates for a second box per round; for all sizes, at least about one in six is valid."""

_BLOCKS = 2
_PURPOSE, _AREA = int(rng.Purpose.PAIR), int(rng.Purpose.AREA)

_TRIES = 10
"""Boxes that are drawn for a share of the area before the whole slice is used, as in torchvision."""

_MOST_RATIO = 4 / 3
_RATIOS = 2 * math.log(_MOST_RATIO)
"""Largest ratio of width to height, and length of the range of its logarithm."""


def partners(sizes: tuple[Triple, ...], overlap: float) -> tuple[Ints, Ints]:
    """Return the sizes that a second box may have, for each size of the first box.

    Two sizes are compatible if their largest possible intersection over union is above `overlap`; the largest value is
    possible everywhere in a volume.

    Returns
    -------
    allowed : (sizes, sizes) int64
        Row i starts with the indices of the sizes that are compatible with size i.
    counts : (sizes,) int64
        Number of compatible sizes, at least 1.
    """
    edges = np.array(sizes, np.int64)
    shared, voxels = np.minimum(edges[:, None], edges).prod(-1), edges.prod(-1)
    best = shared / (voxels[:, None] + voxels - shared)
    return np.argsort(best <= overlap, axis=1, kind="stable"), (best > overlap).sum(1)


@compiled
def overlap_of(origin_a: Ints, size_a: Ints, origin_b: Ints, size_b: Ints) -> Any:
    """Return the intersection over the union of two boxes, each (3,) int64."""
    shared, both = 1, size_a[0] * size_a[1] * size_a[2] + size_b[0] * size_b[1] * size_b[2]
    for axis in range(3):
        stop = min(origin_a[axis] + size_a[axis], origin_b[axis] + size_b[axis])
        shared *= max(stop - max(origin_a[axis], origin_b[axis]), 0)
    return np.float64(shared) / np.float64(both - shared)


@compiled
def draw_second(
    seed: np.uint64,
    number: np.uint64,
    origins: Ints,
    sizes: Ints,
    lengths: Ints,
    overlap: float,
    rounds: int,
    ends: Ints,
) -> None:
    """Draw the origin of a second box, uniformly over all that overlap the first box by more than `overlap`.

    Rejection sampling: candidates are drawn from a range that contains all valid origins, and the first valid one is
    used. If all rounds fail, the second box is centred on the first.

    Parameters
    ----------
    seed, number : uint64
    origins : (2, 3) int64
        The first is the input, the second the output.
    sizes : (2, 3) int64
        Compatible sizes, from `partners`.
    lengths : (3,) int64
        Lengths of the volume.
    overlap : float
        Lower bound of the intersection over union.
    rounds : int
    ends : (2, 3) int64
        Scratch memory.
    """
    both = sizes[0, 0] * sizes[0, 1] * sizes[0, 2] + sizes[1, 0] * sizes[1, 1] * sizes[1, 2]
    most = 1
    for axis in range(3):
        most *= min(sizes[0, axis], sizes[1, axis])
    # IoU > t is equivalent to: intersection > t / (1 + t) * (sum of both volumes).
    bound = overlap / (1 + overlap) * both
    for axis in range(3):
        origin, first, second = origins[0, axis], sizes[0, axis], sizes[1, axis]
        least = min(first, second)
        edge = min(np.int64(np.floor(bound / (most // least) * (1 - 1e-12))) + 1, least)
        low, high = room(second, lengths[axis])
        ends[0, axis], ends[1, axis] = max(low, origin + edge - second), min(high, origin + first - edge)
    for attempt in range(rounds):
        for candidate in range(_CANDIDATES):
            d, h = draw_pair(seed, number, _BLOCKS * candidate, _PURPOSE | attempt << 8)
            w, _ = draw_pair(seed, number, _BLOCKS * candidate + 1, _PURPOSE | attempt << 8)
            words = (d, h, w)
            for axis in range(3):
                origins[1, axis] = ends[0, axis] + below(words[axis], ends[1, axis] - ends[0, axis] + 1)
            if overlap_of(origins[0], sizes[0], origins[1], sizes[1]) > overlap:
                return
    for axis in range(3):
        middle = origins[0, axis] + (sizes[0, axis] - sizes[1, axis]) // 2
        origins[1, axis] = min(max(middle, ends[0, axis]), ends[1, axis])


@compiled
def draw_area(
    seed: np.uint64, number: np.uint64, view: int, area: tuple[float, float], lengths: Ints, size: Ints
) -> None:
    """Draw the size of a box with a share of a slice's area, as torchvision's ``RandomResizedCrop``.

    The share is uniform, the ratio of width to height is uniform in its logarithm. If none of 10 boxes fits into the
    slice, the largest one of an allowed ratio is used.

    Parameters
    ----------
    seed, number : uint64
    view : int
    area : (2,) float
        Smallest and largest share.
    lengths : (3,) int64
        Lengths of the volume.
    size : (3,) int64
        Output: 1, height and width.
    """
    height, width = lengths[1], lengths[2]
    size[0] = 1
    for attempt in range(_TRIES):
        share, shape = draw_pair(seed, number, _TRIES * view + attempt, _AREA)
        voxels = (area[0] + (area[1] - area[0]) * unit(share)) * np.float64(height * width)
        ratio = _MOST_RATIO * exp_double(_RATIOS * (unit(shape) - 1.0))
        size[1] = np.int64(np.floor(np.sqrt(voxels / ratio) + 0.5))
        size[2] = np.int64(np.floor(np.sqrt(voxels * ratio) + 0.5))
        if 0 < size[1] <= height and 0 < size[2] <= width:
            return
    size[1] = min(height, np.int64(np.floor(width * _MOST_RATIO + 0.5)))
    size[2] = min(width, np.int64(np.floor(height * _MOST_RATIO + 0.5)))


@compiled
def draw_inside(word: np.uint64, size: int, low: int, high: int, length: int) -> int:
    """Draw the origin of a box inside [low, high) along an axis, and inside the volume if it fits.

    Parameters
    ----------
    word : uint64
    size : int
        At most high - low.
    low, high : int
    length : int
        Length of the volume.
    """
    start = max(low, 0)
    spare = min(high, length) - start - size
    origin = start + below(word, spare + 1) if spare >= 0 else start - (-spare // 2)
    return min(max(origin, low), high - size)
