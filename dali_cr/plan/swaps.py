"""The swaps of samples: a pure function of seed, sample number, crop and recipe."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.ops.draw import draw_swaps_ref
from dali_cr.recipe.swap import Swap
from dali_cr.volume.geometry import Triple


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
    numbers = np.atleast_1d(np.asarray(samples)).astype(np.uint64)
    swaps = np.empty((numbers.size, swap.iterations, 3, 3), np.int32)
    draw_swaps_ref(seed, numbers, shape, swap.edges(shape), swaps)
    return swaps
