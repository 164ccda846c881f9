"""Choice of permutations that differ as much as possible, the classes of a jigsaw.

Published: permutations are added one by one; the next one is that with the largest mean Hamming distance (number of
tiles at other places) to those chosen before. Project choices, by which the set is fixed: the first is the identity
(published: random); of equal ones, the one farthest from its nearest chosen one is taken, then the first in
lexicographic order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

MOST = 1000
"""Largest number of permutations."""


@lru_cache(maxsize=4)
def choose_permutations(tiles: int, count: int) -> npt.NDArray[np.int64]:
    """Return `count` permutations of tiles, (count, tiles), read-only.

    Parameters
    ----------
    tiles : int
        At most 9.
    count : int
        From 1 to the number of all permutations.

    References
    ----------
    Noroozi, Favaro: Unsupervised learning of visual representations by solving jigsaw puzzles. ECCV (2016) 69-84,
    algorithm 1.

    Examples
    --------
    >>> choose_permutations(3, 3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    every = _all_permutations(tiles).T.copy()
    assert 1 <= count <= every.shape[1]
    chosen, total = [0], np.zeros(every.shape[1], np.int32)
    nearest = np.full(every.shape[1], tiles, np.int32)
    while len(chosen) < count:
        distances = np.zeros(every.shape[1], np.uint8)
        for places, place in zip(every, every[:, chosen[-1]], strict=True):
            distances += places != place
        total += distances
        np.minimum(nearest, distances, out=nearest)
        nearest[chosen[-1]] = -total.max() * (tiles + 1)  # never chosen twice
        chosen.append(int((total * (tiles + 1) + nearest).argmax()))
    found = every[:, chosen].T.astype(np.int64)
    found.setflags(write=False)
    return found


def _all_permutations(tiles: int) -> npt.NDArray[np.uint8]:
    """Return all permutations in lexicographic order, (N, tiles)."""
    found = np.zeros((1, 1), np.uint8)
    for count in range(2, tiles + 1):
        heads = np.arange(count, dtype=np.uint8)[:, None, None]
        rest = found + (found >= heads)  # the other numbers, in order
        found = np.concatenate([np.broadcast_to(heads, (count, len(found), 1)), rest], 2).reshape(-1, count)
    return found
