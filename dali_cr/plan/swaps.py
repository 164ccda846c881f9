"""Draw pairs of disjoint boxes: uniform over all such pairs, without rejection.

Two boxes of one size are disjoint if they are separated along at least one axis. The pairs are counted by the first
axis (in the order D, H, W) that separates them: on the axes before it the boxes overlap, on it they are apart, on those
after it anything goes. One random word chooses that axis by these counts, one word an axis then chooses the pair of
origins from the axis's own set, which has a closed form. Every pair of origins in [0, length - edge] can come out.

Rejection would give the same distribution, and take forever in a tight box: two 256 x 512 patches in a 512 x 512 image
lie apart in 3 of 100,000 draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.philox import draw_pair
from dali_cr.recipe.swap import Swap
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Swaps = npt.NDArray[np.int32]
Edges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_BLOCKS = 3
"""Philox blocks a swap: two for the axis and the three pairs of origins, one for the edges."""

_PURPOSE = int(rng.Purpose.SWAP)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_SPARE_BITS, _UNIT = np.uint64(11), 2.0**-53
"""A word's upper 53 bits, times this, are uniform over [0, 1)."""


def draw_swaps(seed: int, sample: int, shape: Triple, swap: Swap) -> npt.NDArray[np.int32]:
    """Draw the swaps of one sample.

    Parameters
    ----------
    seed : int
    sample : int
        The sample number.
    shape : (3,) int
        The crop's (D, H, W).
    swap : Swap

    Returns
    -------
    swaps : (T, 3, 3) int32
        For each swap the origins of both patches and their size, each (D, H, W).

    Raises
    ------
    ValueError
        If two disjoint patches do not fit into the crop.

    Examples
    --------
    >>> swaps = draw_swaps(seed=0, sample=7, shape=(64, 64, 64), swap=Swap(iterations=100, patch=(4, 16)))
    >>> swaps.shape
    (100, 3, 3)
    """
    drawn: npt.NDArray[np.int32] = draw_batch(seed, [sample], shape, swap)[0]
    return drawn


def draw_batch(seed: int, samples: npt.ArrayLike, shape: Triple, swap: Swap) -> npt.NDArray[np.int32]:
    """Draw the swaps of several samples at once; `draw_swaps` of each, stacked.

    Parameters
    ----------
    seed : int
    samples : (B,) int
    shape : (3,) int
    swap : Swap

    Returns
    -------
    swaps : (B, T, 3, 3) int32
    """
    swap.check(shape)
    rng.check_seed(seed)
    numbers = np.atleast_1d(np.asarray(samples)).astype(np.uint64)
    swaps = np.empty((numbers.size, swap.iterations, 3, 3), np.int32)
    _draw(np.uint64(seed), numbers, shape, swap.edges(shape), swaps)
    return swaps


@compiled
def _draw(seed: np.uint64, numbers: npt.NDArray[np.uint64], shape: Triple, edges: Edges, out: Swaps) -> None:
    """Draw the swaps of samples into `out`."""
    for sample in range(numbers.size):
        for turn in range(out.shape[1]):
            which, ranks = draw_pair(seed, numbers[sample], _BLOCKS * turn, _PURPOSE)
            more = draw_pair(seed, numbers[sample], _BLOCKS * turn + 1, _PURPOSE)
            last = draw_pair(seed, numbers[sample], _BLOCKS * turn + 2, _PURPOSE)
            swap = out[sample, turn]
            words = (last[0] >> _HALF, last[0] & _LOW, last[1])
            for axis in range(3):
                low, high = edges[axis]
                swap[2, axis] = low + below(words[axis], high - low + 1)
            separated = _first_separated(which, shape, swap[2])
            words = (ranks, more[0], more[1])
            for axis in range(3):
                p = np.int64(swap[2, axis])
                pair = _draw_axis(words[axis], shape[axis] - p + 1, p, separated - axis)
                swap[0, axis], swap[1, axis] = pair


@compiled
def below(word: np.uint64, bound: int) -> np.int64:
    """Return a word as an integer uniform over [0, bound), as `dali_cr.rng.below` does."""
    return np.int64(word % np.uint64(bound))


@compiled
def _pair_counts(m: int, p: int) -> tuple[int, int, int]:
    """Count the pairs of origins in [0, m) that are at least p apart, that are closer, and all."""
    k = max(m - p, 0)
    apart = k * (k + 1)
    return apart, m * m - apart, m * m


@compiled
def _first_separated(word: np.uint64, shape: Triple, sizes: npt.NDArray[np.int32]) -> int:
    """Choose the first axis along which the boxes are apart, in proportion to the number of such pairs."""
    p0, p1, p2 = np.int64(sizes[0]), np.int64(sizes[1]), np.int64(sizes[2])
    apart0, close0, _ = _pair_counts(shape[0] - p0 + 1, p0)
    apart1, close1, free1 = _pair_counts(shape[1] - p1 + 1, p1)
    apart2, _, free2 = _pair_counts(shape[2] - p2 + 1, p2)
    first = np.float64(apart0) * np.float64(free1) * np.float64(free2)
    second = first + np.float64(close0) * np.float64(apart1) * np.float64(free2)
    total = second + np.float64(close0) * np.float64(close1) * np.float64(apart2)
    # The product may round up to the total itself, past an axis that no pair is apart on.
    point = min((word >> _SPARE_BITS) * _UNIT * total, np.nextafter(total, 0.0))
    return int(point >= first) + int(point >= second)


@compiled
def _draw_axis(word: np.uint64, m: int, p: int, later: int) -> tuple[Any, Any]:
    """Draw the origins along an axis of m positions; `later` is how many axes on the first separated one is."""
    apart, close, free = _pair_counts(m, p)
    if later == 0:
        return _pair_apart(below(word, apart), m, p)
    if later > 0:
        return _pair_close(below(word, close), m, p)
    rank = below(word, free)
    return rank // m, rank % m


@compiled
def _pair_apart(rank: int, m: int, p: int) -> tuple[int, int]:
    """Return the rank-th of the k (k + 1) pairs in [0, m) with |a - b| >= p, where k = m - p.

    Row i of a k x (k + 1) table: the entries right of the diagonal are the pairs with b >= a + p, the others those
    with a >= b + p.
    """
    k1 = max(m - p, 0) + 1
    i, j = rank // k1, rank % k1
    return (i, j - 1 + p) if j > i else (i + p, j)


@compiled
def _pair_close(rank: int, m: int, p: int) -> tuple[int, int]:
    """Return the rank-th of the pairs in [0, m) with |a - b| < p.

    First the m pairs with a = b; then rows d = 1 ... q - 1 of 2 m - q entries, q = min(p, m): the m - d pairs with
    b = a + d, and the m - (q - d) pairs with a = b + q - d.
    """
    if rank < m:
        return rank, rank
    q = min(p, m)
    width = max(2 * m - q, 1)
    d, s = 1 + (rank - m) // width, (rank - m) % width
    return (s, s + d) if s < m - d else (s - (m - d) + q - d, s - (m - d))
