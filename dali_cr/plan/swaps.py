"""Draw the swaps of samples, as a pure function of seed, sample number, crop and recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.draw.disjoint import draw_disjoint_on_gpu, draw_disjoint_ref
from dali_cr.ops.draw.swaps import draw_swaps_on_gpu, draw_swaps_ref
from dali_cr.ops.gpu import launch
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
        Origins of both patches and their size for each swap, each (D, H, W).

    Raises
    ------
    ValueError
        If the patches do not fit into the crop; see `Swap.check`.

    Examples
    --------
    >>> swaps = draw_swaps(seed=0, sample=7, shape=(64, 64, 64), swap=Swap(iterations=100, patch=(4, 16)))
    >>> swaps.shape
    (100, 3, 3)
    """
    drawn: Swaps = draw_batch(seed, [sample], shape, swap)[0]
    return drawn


def draw_batch(seed: int, samples: npt.ArrayLike, shape: Triple, swap: Swap) -> npt.NDArray[np.int32]:
    """Draw the swaps of several samples; equal to stacking `draw_swaps` of each sample.

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
    drawn = SwapSampler(seed, shape, swap).draw(np.atleast_1d(np.asarray(samples)))
    return drawn[:, 0].copy()


class SwapSampler:
    """Draws the swaps of samples.

    Parameters
    ----------
    seed : int
    shape : (3,) int
        Shape of the arrays.
    swap : Swap
    groups : int
        Number of arrays per sample, each with separate swaps.

    Attributes
    ----------
    boxes : int
        Number of swaps per array.
    masks : bool
        False: boxes are swapped, not masked.

    Raises
    ------
    ValueError
        If the seed is not an unsigned 64-bit integer, or the patches do not fit into the shape.
    """

    masks = False

    def __init__(self, seed: int, shape: Triple, swap: Swap, groups: int = 1) -> None:
        swap.check(shape)
        rng.check_seed(seed)
        self._seed, self._shape, self._edges = seed, shape, swap.edges(shape)
        self._groups, self.boxes, self._overlap = groups, swap.iterations, swap.overlap

    def draw(self, numbers: npt.NDArray[Any]) -> Swaps:
        """Draw the swaps of samples.

        Parameters
        ----------
        numbers : (B,) int
            Sample numbers.

        Returns
        -------
        swaps : (B, groups, T, 3, 3) int32
            Read-only.
        """
        out = np.empty((len(numbers), self._groups, self.boxes, 3, 3), np.int32)
        if self._overlap:
            draw_swaps_ref(self._seed, numbers, self._shape, self._edges, _as_one(out))
        elif self.boxes:
            draw_disjoint_ref(self._seed, numbers, self._shape, self._edges, out)
        out.flags.writeable = False
        return out

    def draw_on_gpu(self, numbers: Any) -> Any:
        """Draw the swaps of samples on the GPU; like `draw`, with CuPy arrays.

        Parameters
        ----------
        numbers : (B,) int64 CuPy array

        Returns
        -------
        swaps : (B, groups, T, 3, 3) int32 CuPy array
        """
        out = launch.array_module().empty((len(numbers), self._groups, self.boxes, 3, 3), np.int32)
        if self._overlap:
            draw_swaps_on_gpu(self._seed, numbers, self._shape, self._edges, _as_one(out))
        else:
            draw_disjoint_on_gpu(self._seed, numbers, self._shape, self._edges, out)
        return out


def _as_one(swaps: Any) -> Any:
    """Return a view (B, G * T, 3, 3) with the swaps of all arrays of a sample in one axis."""
    batch, groups, iterations = swaps.shape[:3]
    return swaps.reshape(batch, groups * iterations, 3, 3)
