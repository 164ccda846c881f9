"""Random words that entries are ordered by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.philox import draw_pair
from dali_cr.system.compiled import compiled

_HALF = np.uint64(32)


@compiled
def draw_words(
    seed: np.uint64, number: np.uint64, purpose: int, places: npt.NDArray[np.int64], words: npt.NDArray[np.uint64]
) -> None:
    """Draw two random words per entry of a pass.

    Parameters
    ----------
    seed : uint64
    number : uint64
        Of the pass; 0 if the entries are sample numbers.
    purpose : int
    places : (n,) int64
        The entries.
    words : (n, 2) uint64
        Is written.
    """
    for i in range(places.size):
        words[i, 0], words[i, 1] = draw_pair(seed, np.uint64(places[i]) | number << _HALF, 0, purpose)
