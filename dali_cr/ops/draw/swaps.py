"""`draw_swaps`: draw pairs of boxes to swap, uniformly over all pairs of disjoint boxes (kernels/draw_swaps.cu).

Rejection sampling has the same distribution but is slow for large patches: two 256 x 512 patches in a 512 x 512 image
are disjoint in 3 of 100,000 draws. `dali_cr.ops.draw.pairs` explains the method.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.cpu.philox import draw_pair
from dali_cr.ops.draw.boxes import Edges, check_drawing, draw_size
from dali_cr.ops.draw.pairs import draw_axis, first_separated
from dali_cr.ops.gpu import launch
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

_SOURCES = ("philox.cuh", "draw.cuh", "draw_swaps.cu")
VARIANTS: tuple[launch.Variant, ...] = (("draw_swaps", _SOURCES, ()),)
_THREADS = 128

_BLOCKS = 3
"""Philox blocks per swap: two for the axis and the three pairs of origins, one for the edges."""

_PURPOSE = int(rng.Purpose.SWAP)


def draw_swaps_ref(seed: int, numbers: npt.NDArray[np.integer], shape: Triple, edges: Edges, out: Swaps) -> None:
    """Draw the swaps of samples on the CPU; the definition of `draw_swaps_on_gpu`.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64
        Sample numbers; negative ones are reinterpreted as unsigned.
    shape : (3,) int
        (D, H, W) of the arrays.
    edges : three (low, high)
        Edges of the boxes along D, H, W, both ends included. Two disjoint boxes of every size must fit into `shape`.
    out : (B, T, 3, 3) int32
        Output: origins of both boxes and their size for each swap, each (D, H, W).

    Raises
    ------
    ValueError
        If the seed is out of range.

    Examples
    --------
    >>> swaps = np.empty((1, 100, 3, 3), np.int32)
    >>> draw_swaps_ref(0, np.array([7]), (64, 64, 64), ((4, 16),) * 3, swaps)
    >>> bool((swaps[:, :, 2] >= 4).all() and (swaps[:, :, 2] <= 16).all())
    True
    """
    rng.check_seed(seed)
    _draw(np.uint64(seed), numbers.astype(np.uint64), shape, edges, out)


@compiled
def _draw(seed: np.uint64, numbers: npt.NDArray[np.uint64], shape: Triple, edges: Edges, out: Swaps) -> None:
    """Draw the swaps of samples into `out`."""
    for sample in range(numbers.size):
        for turn in range(out.shape[1]):
            which, ranks = draw_pair(seed, numbers[sample], _BLOCKS * turn, _PURPOSE)
            more = draw_pair(seed, numbers[sample], _BLOCKS * turn + 1, _PURPOSE)
            last = draw_pair(seed, numbers[sample], _BLOCKS * turn + 2, _PURPOSE)
            swap = out[sample, turn]
            draw_size(last, edges, swap[2])
            separated = first_separated(which, shape, swap[2])
            words = (ranks, more[0], more[1])
            for axis in range(3):
                p = np.int64(swap[2, axis])
                pair = draw_axis(words[axis], shape[axis] - p + 1, p, separated - axis)
                swap[0, axis], swap[1, axis] = pair


def draw_swaps_on_gpu(seed: int, numbers: Any, shape: Triple, edges: Edges, out: Any) -> None:
    """Draw the swaps of samples on the GPU; same bits as `draw_swaps_ref`.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64 CuPy array, contiguous
        Sample numbers.
    shape : (3,) int
    edges : three (low, high)
    out : (B, T, 3, 3) int32 CuPy array, contiguous
        Output: the swaps.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the seed is out of range.
    """
    check_drawing(seed, numbers, out, ("T",))
    samples, iterations = out.shape[:2]
    if out.size:
        sizes = (samples, iterations, *shape, *(edge for pair in edges for edge in pair))
        scalars = (np.uint64(seed), np.int32(_PURPOSE), *(np.int32(n) for n in sizes))
        grid = (-(-samples * iterations // _THREADS),)
        launch.kernel("draw_swaps", *_SOURCES)(grid, (_THREADS,), (out, numbers, *scalars))
