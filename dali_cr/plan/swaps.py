"""Draw pairs of disjoint boxes: uniform over all such pairs, without rejection.

Two boxes of one size are disjoint if they are separated along at least one axis. The pairs are counted by the first
axis (in the order D, H, W) that separates them: on the axes before it the boxes overlap, on it they are apart, on those
after it anything goes. One random word chooses that axis by these counts, one word an axis then chooses the pair of
origins from the axis's own set, which has a closed form. Every pair of origins in [0, length - edge] can come out.

Rejection would give the same distribution, and take forever in a tight box: two 256 x 512 patches in a 512 x 512 image
lie apart in 3 of 100,000 draws.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple

Ints = npt.NDArray[np.int64]

_BLOCKS = 3
"""Philox blocks a swap: two for the axis and the three pairs of origins, one for the edges."""


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
    count, numbers = swap.iterations, np.atleast_1d(np.asarray(samples))
    words = rng.draw_words(seed, numbers, rng.Purpose.SWAP, _BLOCKS * count).reshape(numbers.size, count, 2 * _BLOCKS)
    sizes = _draw_sizes(words[..., 4:], swap.edges(shape))
    positions = np.asarray(shape) - sizes + 1
    separated = _first_separated(words[..., 0], positions, sizes)
    swaps = np.empty((numbers.size, count, 3, 3), np.int32)
    swaps[..., 2, :] = sizes
    for axis in range(3):
        m, p = positions[..., axis], sizes[..., axis]
        apart, close, free = _pair_counts(m, p)
        bound = np.where(separated == axis, apart, np.where(separated > axis, close, free))
        rank = rng.below(words[..., 1 + axis], bound)
        pairs = (_pair_apart(rank, m, p), _pair_close(rank, m, p), (rank // m, rank % m))
        for which in range(2):
            chosen = np.where(separated > axis, pairs[1][which], pairs[2][which])
            swaps[..., which, axis] = np.where(separated == axis, pairs[0][which], chosen)
    return swaps


def _draw_sizes(words: npt.NDArray[np.uint64], edges: tuple[tuple[int, int], ...]) -> Ints:
    """Draw each edge uniformly; three 32-bit words of the two 64-bit ones given."""
    thirds = np.stack([words[..., 0] >> np.uint64(32), words[..., 0] & np.uint64(0xFFFFFFFF), words[..., 1]], axis=-1)
    low, high = np.array(edges).T
    return np.asarray(low + rng.below(thirds, high - low + 1))


def _pair_counts(m: Ints, p: Ints) -> tuple[Ints, Ints, Ints]:
    """Count the pairs of origins in [0, m) that are at least p apart, that are closer, and all."""
    k = np.maximum(m - p, 0)
    apart = k * (k + 1)
    return apart, m * m - apart, m * m


def _first_separated(words: npt.NDArray[np.uint64], positions: Ints, sizes: Ints) -> Ints:
    """Choose the first axis along which the boxes are apart, in proportion to the number of such pairs."""
    apart, close, free = (c.astype(np.float64) for c in _pair_counts(positions, sizes))
    weights = np.stack(
        [
            apart[..., 0] * free[..., 1] * free[..., 2],
            close[..., 0] * apart[..., 1] * free[..., 2],
            close[..., 0] * close[..., 1] * apart[..., 2],
        ],
        axis=-1,
    )
    upto = np.cumsum(weights, axis=-1)
    # The product may round up to the total itself, past an axis that no pair is apart on.
    point = np.minimum(rng.unit(words) * upto[..., 2], np.nextafter(upto[..., 2], 0))
    return np.asarray((point >= upto[..., 0]).astype(np.int64) + (point >= upto[..., 1]))


def _pair_apart(rank: Ints, m: Ints, p: Ints) -> tuple[Ints, Ints]:
    """Return the rank-th of the k (k + 1) pairs in [0, m) with |a - b| >= p, where k = m - p.

    Row i of a k x (k + 1) table: the entries right of the diagonal are the pairs with b >= a + p, the others those
    with a >= b + p.
    """
    k1 = np.maximum(m - p, 0) + 1
    i, j = rank // k1, rank % k1
    right = j > i
    return np.where(right, i, i + p), np.where(right, j - 1 + p, j)


def _pair_close(rank: Ints, m: Ints, p: Ints) -> tuple[Ints, Ints]:
    """Return the rank-th of the pairs in [0, m) with |a - b| < p.

    First the m pairs with a = b; then rows d = 1 ... q - 1 of 2 m - q entries, q = min(p, m): the m - d pairs with
    b = a + d, and the m - (q - d) pairs with a = b + q - d.
    """
    q = np.minimum(p, m)
    width = np.maximum(2 * m - q, 1)
    rest = rank - m
    d, s = 1 + rest // width, rest % width
    e, t = q - d, s - (m - d)
    first = np.where(s < m - d, s, t + e)
    second = np.where(s < m - d, s + d, t)
    return np.where(rank < m, rank, first), np.where(rank < m, rank, second)
