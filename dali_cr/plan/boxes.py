"""Draw where views lie and how they are turned: boxes, and the affine maps from their voxels to the volume's.

Everything is drawn for a whole batch at once, and element by element: sums in a fixed order, and sines by the C library
one at a time, since NumPy's own may differ in the last bit with the length of the array.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.volume.geometry import Triple

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_CANDIDATES = 16
"""Places tried for a second box in a round; at least about one in six is good, whatever the sizes."""

_CANDIDATE_BLOCKS = 2
_ROUNDS = 64


def room(sizes: npt.ArrayLike, lengths: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Return the first and the last origin of boxes in volumes; a box that is too large is centred.

    Parameters
    ----------
    sizes, lengths : (..., 3) int
        Of the boxes and of the volumes.

    Returns
    -------
    first, last : (..., 3) int64
    """
    spare = np.asarray(lengths) - np.asarray(sizes)
    centred = -(-spare // 2)
    return np.where(spare < 0, centred, 0), np.where(spare < 0, centred, spare)


def overlap_of(origin_a: Ints, size_a: Ints, origin_b: Ints, size_b: Ints) -> Floats:
    """Return the intersection over the union of pairs of boxes, each (..., 3)."""
    edges = np.minimum(origin_a + size_a, origin_b + size_b) - np.maximum(origin_a, origin_b)
    shared = np.maximum(edges, 0).prod(-1).astype(np.float64)
    return np.asarray(shared / (size_a.prod(-1) + size_b.prod(-1) - shared))


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
    nothing = np.zeros(3, np.int64)
    best = overlap_of(nothing, edges[:, None], nothing, edges[None])
    return np.argsort(best <= overlap, axis=1, kind="stable"), (best > overlap).sum(1)


def draw_second(
    seed: int,
    numbers: Ints,
    first: tuple[Ints, Ints],
    sizes: Ints,
    lengths: Ints,
    overlap: float,
    rounds: int = _ROUNDS,
) -> Ints:
    """Draw the origins of second boxes, uniform over all that overlap the first ones by more than a share.

    Places are tried, many at a time, within the range in which each axis alone could do, and the first good one is
    taken. Should no round find one, which has a probability below 1e-80, the second box is laid into the first.

    Parameters
    ----------
    seed : int
    numbers : (B,) int
        Sample numbers.
    first : origins and sizes (B, 3) of the first boxes
    sizes : (B, 3) int
        Of the second boxes; from `partners`, so that there is a place.
    lengths : (B, 3) int
        Of the volumes.
    overlap : float
        Intersection over union, which is to be greater.

    Returns
    -------
    origins : (B, 3) int64
    """
    low, high = _range_of_second(*first, sizes, lengths, overlap)
    origins = np.clip(first[0] + (first[1] - sizes) // 2, low, high)
    waiting = np.arange(len(numbers))
    for attempt in range(rounds):
        if not waiting.size:
            break
        words = rng.draw_words(seed, numbers[waiting], rng.Purpose.PAIR, _CANDIDATES * _CANDIDATE_BLOCKS, attempt)
        words = words.reshape(waiting.size, _CANDIDATES, 2 * _CANDIDATE_BLOCKS)[..., :3]
        lowest = low[waiting, None]
        tried = lowest + rng.below(words, high[waiting, None] - lowest + 1)
        one, other = (array[waiting, None] for array in first)
        good = overlap_of(one, other, tried, sizes[waiting, None]) > overlap
        found = good.any(1)
        origins[waiting[found]] = tried[found, good[found].argmax(1)]
        waiting = waiting[~found]
    return origins


def _range_of_second(origins: Ints, firsts: Ints, sizes: Ints, lengths: Ints, overlap: float) -> tuple[Ints, Ints]:
    """Return the first and the last origin of a second box that can overlap enough, each axis looked at alone."""
    least = np.minimum(firsts, sizes)
    # IoU > t means: the intersection is more than t / (1 + t) of both volumes together.
    wanted = overlap / (1 + overlap) * (firsts.prod(-1) + sizes.prod(-1)).astype(np.float64)
    others = least.prod(-1)[:, None] // least
    edges = np.floor(wanted[:, None] / others * (1 - 1e-12)).astype(np.int64) + 1
    edges = np.minimum(edges, least)
    first, last = room(sizes, lengths)
    return np.maximum(first, origins + edges - sizes), np.minimum(last, origins + firsts - edges)


def draw_inside(words: Words, sizes: Ints, low: Ints, high: Ints, lengths: Ints) -> Ints:
    """Draw boxes inside [low, high), and inside the volume where they fit there.

    Parameters
    ----------
    words : (..., 3) uint64
    sizes : (..., 3) int
        At most high - low.
    low, high : (..., 3) int
    lengths : (..., 3) int
        Of the volumes.

    Returns
    -------
    origins : (..., 3) int64
    """
    start, stop = np.maximum(low, 0), np.minimum(high, lengths)
    spare = stop - start - sizes
    origins = np.where(spare < 0, start - (-spare // 2), start + rng.below(words, np.maximum(spare, 0) + 1))
    return np.clip(origins, low, high - sizes)


def compose(
    centres: Floats, steps: Floats, angles: Floats, units: Floats, spacing: Floats, shape: Triple
) -> tuple[Floats, Floats]:
    """Return the affine maps from a view's voxels to the volume's, both counted at their centres.

    Parameters
    ----------
    centres : (..., 3) float64
        Of the views, in the volume's voxels.
    steps : (..., 3) float64
        From one voxel of the view to the next, in units; negative where it is flipped.
    angles : (..., 3) float64
        About D, H and W, in radians.
    units : (..., 3) float64
        In mm.
    spacing : (..., 3) float64
        Of the volume's voxels, in mm.
    shape : (3,) int
        Of the views.

    Returns
    -------
    matrices : (..., 3, 3) float64
    offsets : (..., 3) float64
        ``volume = matrix @ view + offset``.
    """
    matrices = rotations(angles) * steps[..., None, :] * (units[..., None, :] / spacing[..., :, None])
    middle = matrices * ((np.array(shape) - 1) / 2)
    return matrices, centres - (middle[..., 0] + middle[..., 1] + middle[..., 2])


def rotations(angles: Floats) -> Floats:
    """Return the matrices that turn about W, then H, then D, by angles (..., 3) about D, H and W in radians."""
    flat = angles.ravel().tolist()
    cosines = np.array([math.cos(angle) for angle in flat]).reshape(angles.shape)
    sines = np.array([math.sin(angle) for angle in flat]).reshape(angles.shape)
    (cd, ch, cw), (sd, sh, sw) = np.moveaxis(cosines, -1, 0), np.moveaxis(sines, -1, 0)
    rows = (
        (ch * cw, -ch * sw, sh),
        (cd * sw + sd * sh * cw, cd * cw - sd * sh * sw, -sd * ch),
        (sd * sw - cd * sh * cw, sd * cw + cd * sh * sw, cd * ch),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


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
    ends = matrix * (np.array(shape) - 1)
    # Slack for the last bits, in which the sampling may differ.
    low = np.floor(offset + np.minimum(ends, 0).sum(1) - 1e-6).tolist()
    high = np.floor(offset + np.maximum(ends, 0).sum(1) + 1e-6).tolist()
    start = [min(max(int(a), 0), length - 1) for a, length in zip(low, lengths, strict=True)]
    stop = [min(max(int(b) + 2, a + 1), n) for a, b, n in zip(start, high, lengths, strict=True)]
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
