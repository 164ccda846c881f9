"""Pairs of disjoint boxes: how many there are, and which one a random word stands for.

Two boxes of equal size are disjoint if they are separated along at least one axis. Pairs are counted by the first axis
(in the order D, H, W) that separates them: they overlap along the axes before it, are apart along it, and are arbitrary
along the axes after it. One random word chooses this axis in proportion to the counts. One word per axis then chooses
the pair of origins along that axis, with a closed form. All origins in [0, length - edge] are possible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.philox import below, unit
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple


@compiled
def pair_counts(m: int, p: int) -> tuple[int, int, int]:
    """Count the pairs of origins in [0, m): at least p apart, closer than p, and all."""
    k = max(m - p, 0)
    apart = k * (k + 1)
    return apart, m * m - apart, m * m


@compiled
def first_separated(word: np.uint64, shape: Triple, sizes: npt.NDArray[np.int32]) -> int:
    """Choose the first axis along which the boxes are apart, in proportion to the number of pairs."""
    p0, p1, p2 = np.int64(sizes[0]), np.int64(sizes[1]), np.int64(sizes[2])
    apart0, close0, _ = pair_counts(shape[0] - p0 + 1, p0)
    apart1, close1, free1 = pair_counts(shape[1] - p1 + 1, p1)
    apart2, _, free2 = pair_counts(shape[2] - p2 + 1, p2)
    first = np.float64(apart0) * np.float64(free1) * np.float64(free2)
    second = first + np.float64(close0) * np.float64(apart1) * np.float64(free2)
    total = second + np.float64(close0) * np.float64(close1) * np.float64(apart2)
    # The product may round up to the total, which would choose an axis without pairs.
    point = min(unit(word) * total, np.nextafter(total, 0.0))
    return int(point >= first) + int(point >= second)


@compiled
def draw_axis(word: np.uint64, m: int, p: int, later: int) -> tuple[Any, Any]:
    """Draw the origins along an axis with m positions; `later` is the first separated axis minus this axis."""
    apart, close, free = pair_counts(m, p)
    if later == 0:
        return pair_apart(below(word, apart), m, p)
    if later > 0:
        return pair_close(below(word, close), m, p)
    rank = below(word, free)
    return rank // m, rank % m


@compiled
def pair_apart(rank: int, m: int, p: int) -> tuple[int, int]:
    """Return the rank-th of the k (k + 1) pairs in [0, m) with |a - b| >= p, where k = m - p.

    In row i of a k x (k + 1) table, the entries right of the diagonal are the pairs with b >= a + p, the others the
    pairs with a >= b + p.
    """
    k1 = max(m - p, 0) + 1
    i, j = rank // k1, rank % k1
    return (i, j - 1 + p) if j > i else (i + p, j)


@compiled
def pair_close(rank: int, m: int, p: int) -> tuple[int, int]:
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
