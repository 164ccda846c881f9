"""Draw whether a view is blurred, and its brightness and contrast, as a pure function of (seed, n, view)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import fill_words, unit
from dali_cr.system.compiled import compiled

_JITTER = int(rng.Purpose.JITTER)

WORDS = 4
"""Random words of a view: whether it is blurred, order, brightness, contrast."""


@compiled
def draw_jitter(
    seed: np.uint64,
    number: np.uint64,
    view: int,
    chance: float,
    most: tuple[float, float],
    words: npt.NDArray[np.uint64],
    blur: Any,
    factors: Any,
) -> None:
    """Draw the jitter of a view.

    Parameters
    ----------
    seed, number : uint64
    view : int
    chance : float
        Probability that the view is blurred.
    most : (2,) float
        Largest changes of brightness and contrast.
    words : (4,) uint64
        Scratch memory.
    blur : (3,) float32
        Standard deviations of the blur; set to 0 if the view is not blurred.
    factors : (3,) float32
        Output: brightness, contrast, and 1 if the contrast is changed first, else 0.
    """
    fill_words(seed, number, WORDS // 2 * view, _JITTER, words)
    if unit(words[0]) >= chance:
        blur[:] = 0
    for kind in range(2):
        factors[kind] = 1 + most[kind] * (2 * unit(words[2 + kind]) - 1)
    factors[2] = words[1] >> np.uint64(63) if most[0] > 0 and most[1] > 0 else 0
