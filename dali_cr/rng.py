"""Philox4x32-10: random numbers as a pure function of a key and a counter.

The generator has no state: the number at (key, counter) does not depend on the order of calls, the thread or the
machine. cuRAND, JAX and Random123 use the same generator, so a kernel can draw the same numbers.

The four words of the counter are (sample number low, high, block, purpose); `Purpose` separates the streams of a
sample.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

ROUNDS = 10
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
"""Increments of the key in each round."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Purpose(IntEnum):
    """Purpose of a stream of random numbers; part of the counter, so that streams never share a number."""

    ORDER = 0
    ORIGIN = 1
    FLIP = 2
    SWAP = 3
    SPLIT = 4
    REDRAW = 5
    NOISE = 6
    VIEW = 7
    PAIR = 8
    LEVEL = 9
    CELL = 10
    MASK = 11
    AFFINE = 12
    INTENSITY = 13
    DATASET = 14
    TILE = 15
    JITTER = 16
    HOLE = 17
    AREA = 18


def philox(counter: npt.ArrayLike, key: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return the Philox4x32-10 block of each counter.

    Parameters
    ----------
    counter : (..., 4) uint32
    key : (..., 2) uint32
        Broadcast against `counter`.

    Returns
    -------
    block : (..., 4) uint32

    References
    ----------
    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.

    Examples
    --------
    >>> [hex(word) for word in philox([0, 0, 0, 0], [0, 0])]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint32).astype(np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, np.uint32).astype(np.uint64), -1, 0)
    c0, c1, c2, c3, k0, k1 = np.broadcast_arrays(c0, c1, c2, c3, k0, k1)
    for round_ in range(ROUNDS):
        if round_:
            k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = p1 >> _HALF ^ c1 ^ k0, p1 & _LOW, p0 >> _HALF ^ c3 ^ k1, p0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def draw_words(
    seed: int, numbers: npt.ArrayLike, purpose: Purpose, blocks: int, attempt: int = 0
) -> npt.NDArray[np.uint64]:
    """Return `2 * blocks` random 64-bit words for each sample number.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int
        Sample numbers, 0 <= n < 2**64.
    purpose : Purpose
    blocks : int
        Philox blocks per sample number; each block has two words.
    attempt : int
        Number of the redraw of the sample number (0 for the first draw).

    Returns
    -------
    words : (B, 2 * blocks) uint64

    Raises
    ------
    ValueError
        If the seed is out of range.
    """
    check_seed(seed)
    n = np.atleast_1d(np.asarray(numbers)).astype(np.uint64)
    counter = np.empty((n.size, blocks, 4), np.uint32)
    counter[..., 0] = (n & _LOW)[:, None]
    counter[..., 1] = (n >> _HALF)[:, None]
    counter[..., 2] = np.arange(blocks, dtype=np.uint32)
    counter[..., 3] = int(purpose) | attempt << 8
    words = philox(counter, [seed & 0xFFFFFFFF, seed >> 32]).astype(np.uint64)
    return ((words[..., 1::2] << _HALF) | words[..., 0::2]).reshape(n.size, 2 * blocks)


def check_seed(seed: int) -> None:
    """Raise ValueError unless a seed is an unsigned 64-bit integer."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed!r}")


def below(words: npt.NDArray[np.uint64] | np.uint64, bounds: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Map words to integers uniform over [0, bound).

    The relative bias of the remainder is bound / 2**64, below 1e-6 for all bounds used here (up to 2**44).
    """
    return np.asarray(words % np.asarray(bounds).astype(np.uint64)).astype(np.int64)
