"""Compiled versions of the random numbers of `dali_cr.rng`, for plans, swaps and noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.system.compiled import compiled

_ROUNDS = rng.ROUNDS
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIERS = tuple(rng.MULTIPLIERS)
_WEYL = tuple(rng.WEYL)
_SPARE_BITS, _UNIT = np.uint64(11), 2.0**-53


@compiled
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, seed: np.uint64) -> tuple[np.uint64, ...]:
    """Return the four words, each below 2**32, of the Philox block at a counter with a seed as key.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        Words of the counter, each below 2**32.
    seed : uint64

    Returns
    -------
    words : four uint64

    Examples
    --------
    >>> zero = np.uint64(0)
    >>> [hex(word) for word in philox(zero, zero, zero, zero, zero)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    k0, k1 = seed & _LOW, seed >> _HALF
    for turn in range(_ROUNDS):
        if turn:
            k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = p1 >> _HALF ^ c1 ^ k0, p1 & _LOW, p0 >> _HALF ^ c3 ^ k1, p0 & _LOW
    return c0, c1, c2, c3


@compiled
def draw_pair(seed: np.uint64, number: np.uint64, block: int, purpose: int) -> tuple[np.uint64, np.uint64]:
    """Return the two 64-bit words 2 * block and 2 * block + 1 of `dali_cr.rng.draw_words`.

    Parameters
    ----------
    seed, number : uint64
    block, purpose : int
    """
    a, b, c, d = philox(number & _LOW, number >> _HALF, np.uint64(block), np.uint64(purpose), seed)
    return b << _HALF | a, d << _HALF | c


@compiled
def fill_words(seed: np.uint64, number: np.uint64, first: int, purpose: int, out: npt.NDArray[np.uint64]) -> None:
    """Fill an array with the 64-bit words of `dali_cr.rng.draw_words`, starting with word 2 * first.

    Parameters
    ----------
    seed, number : uint64
    first, purpose : int
    out : (2 * blocks,) uint64
    """
    for block in range(out.size // 2):
        out[2 * block], out[2 * block + 1] = draw_pair(seed, number, first + block, purpose)


@compiled
def below(word: np.uint64, bound: int) -> int:
    """Return a word as an integer uniform over [0, bound), as `dali_cr.rng.below` does."""
    return np.int64(word % np.uint64(bound))  # type: ignore[return-value]


@compiled
def unit(word: np.uint64) -> float:
    """Return a word as a float64 uniform over [0, 1), in steps of 2**-53."""
    return (word >> _SPARE_BITS) * _UNIT
