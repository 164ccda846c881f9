"""Draw where views lie and how they are turned: boxes, and the affine maps from their voxels to the volume's.

Compiled, for one sample or one view at a time: all arithmetic is in a fixed order, whatever the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import below, draw_pair
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROUNDS = 64
"""Of a second box; the places of all are bad with a probability below 1e-80."""

_CANDIDATES = 16
"""Places tried for a second box in a round; at least about one in six is good, whatever the sizes."""

_BLOCKS = 2
_PURPOSE = int(rng.Purpose.PAIR)


def partners(sizes: tuple[Triple, ...], overlap: float) -> tuple[Ints, Ints]:
    """Return for each size the sizes that a second box may be of, and how many.

    Boxes of two sizes overlap most where one holds as much of the other as it can, which is possible everywhere in a
    volume; a size whose best is not enough is never drawn.

    Returns
    -------
    allowed : (sizes, sizes) int64
        Row i: first the places of those that may follow size i, in order.
    counts : (sizes,) int64
        How many these are, at least 1.
    """
    edges = np.array(sizes, np.int64)
    shared, voxels = np.minimum(edges[:, None], edges).prod(-1), edges.prod(-1)
    best = shared / (voxels[:, None] + voxels - shared)
    return np.argsort(best <= overlap, axis=1, kind="stable"), (best > overlap).sum(1)


@compiled
def room(size: int, length: int) -> tuple[int, int]:
    """Return the first and the last origin of a box along an axis of a volume; a box that is too large is centred.

    Examples
    --------
    >>> room(4, 10), room(9, 4)
    ((0, 6), (-2, -2))
    """
    spare = length - size
    if spare >= 0:
        return 0, spare
    return -(-spare // 2), -(-spare // 2)


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
    """Draw the origin of a second box, uniform over all that overlap the first one by more than a share.

    Places are tried within the range in which each axis alone could do, and the first good one is taken. Should no
    round find one, the second box is laid into the first.

    Parameters
    ----------
    seed, number : uint64
    origins : (2, 3) int64
        The first is given, the second is written.
    sizes : (2, 3) int64
        Of `partners`, so that there is a place.
    lengths : (3,) int64
        Of the volume.
    overlap : float
        Intersection over union, which is to be greater.
    rounds : int
    ends : (2, 3) int64
        Scratch memory.
    """
    both = sizes[0, 0] * sizes[0, 1] * sizes[0, 2] + sizes[1, 0] * sizes[1, 1] * sizes[1, 2]
    most = 1
    for axis in range(3):
        most *= min(sizes[0, axis], sizes[1, axis])
    # IoU > t means: the intersection is more than t / (1 + t) of both volumes together.
    wanted = overlap / (1 + overlap) * both
    for axis in range(3):
        origin, first, second = origins[0, axis], sizes[0, axis], sizes[1, axis]
        least = min(first, second)
        edge = min(np.int64(np.floor(wanted / (most // least) * (1 - 1e-12))) + 1, least)
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
def draw_inside(word: np.uint64, size: int, low: int, high: int, length: int) -> int:
    """Draw the origin of a box inside [low, high) of an axis, and inside the volume where it fits there.

    Parameters
    ----------
    word : uint64
    size : int
        At most high - low.
    low, high : int
    length : int
        Of the volume.
    """
    start = max(low, 0)
    spare = min(high, length) - start - size
    origin = start + below(word, spare + 1) if spare >= 0 else start - (-spare // 2)
    return min(max(origin, low), high - size)


@compiled
def compose(
    origin: Ints,
    size: Ints,
    flips: Flags,
    scales: Floats,
    cosines: Floats,
    sines: Floats,
    units: Floats,
    spacing: Floats,
    shape: Ints,
    matrix: Floats,
    offset: Floats,
) -> None:
    """Write the affine map from a view's voxels to the volume's, both counted at their centres.

    The view is turned about W, then H, then D.

    Parameters
    ----------
    origin, size : (3,) int64
        Of its box, in units.
    flips : (3,) bool
    scales : (3,) float64
        By which it is stretched.
    cosines, sines : (3,) float64
        Of the angles about D, H and W.
    units, spacing : (3,) float64
        Of the box's and of the volume's voxels, in mm.
    shape : (3,) int64
        Of the view.
    matrix : (3, 3) float64
    offset : (3,) float64
        Get the map: ``volume = matrix @ view + offset``.
    """
    cd, ch, cw, sd, sh, sw = cosines[0], cosines[1], cosines[2], sines[0], sines[1], sines[2]
    turn = (
        (ch * cw, -ch * sw, sh),
        (cd * sw + sd * sh * cw, cd * cw - sd * sh * sw, -sd * ch),
        (sd * sw - cd * sh * cw, sd * cw + cd * sh * sw, cd * ch),
    )
    for row in range(3):
        middle = 0.0
        for column in range(3):
            step = size[column] / shape[column] / scales[column] * (-1.0 if flips[column] else 1.0)
            matrix[row, column] = turn[row][column] * step * (units[column] / spacing[row])
            middle += matrix[row, column] * ((shape[column] - 1) / 2)
        centre = (origin[row] + (size[row] - 1) / 2 + 0.5) * (units[row] / spacing[row]) - 0.5
        offset[row] = centre - middle


def reach(matrix: Floats, offset: Floats, shape: Triple, lengths: Triple) -> tuple[Triple, Triple]:
    """Return the box [start, stop) of a volume that a view is interpolated from.

    Parameters
    ----------
    matrix : (3, 3) float64
    offset : (3,) float64
    shape, lengths : (3,) int
        Of the view and of the volume.

    Returns
    -------
    start, stop : (3,) int
        Never empty.
    """
    box = np.empty((2, 3), np.int64)
    find_reach(np.array(matrix), np.array(offset), np.array(shape), np.array(lengths), box)
    (d, h, w), (e, i, x) = box.tolist()
    return (d, h, w), (e, i, x)


@compiled
def find_reach(matrix: Floats, offset: Floats, shape: Ints, lengths: Ints, box: Ints) -> None:
    """Write what `reach` returns into a box (2, 3) int64."""
    for row in range(3):
        low = high = 0.0
        for column in range(3):
            end = matrix[row, column] * (shape[column] - 1)
            low, high = low + min(end, 0.0), high + max(end, 0.0)
        # Slack for the last bits, in which the sampling may differ.
        start, stop = np.floor(offset[row] + low - 1e-6), np.floor(offset[row] + high + 1e-6)
        box[0, row] = min(max(np.int64(start), 0), lengths[row] - 1)
        box[1, row] = min(max(np.int64(stop) + 2, box[0, row] + 1), lengths[row])
