"""`draw_disjoint`: draw pairs of boxes to swap, without any overlap of boxes (kernels/draw_disjoint.cu).

Each box lies in a cell of a lattice. The cells of a sample are the first elements of a Fisher-Yates shuffle. The kernel
does not store the shuffled cells; it traces each element back through the earlier exchanges.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.cpu.philox import below, draw_pair
from dali_cr.ops.draw.boxes import Edges, check_drawing, draw_size, in_three, pick, threads_of
from dali_cr.ops.gpu import launch
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

_SOURCES = ("philox.cuh", "draw.cuh", "shuffle.cuh", "draw_disjoint.cu")
VARIANTS: tuple[launch.Variant, ...] = (("draw_disjoint", _SOURCES, ()),)

_BLOCKS = 4
"""Philox blocks per swap: one for both cells, one for the edges, one per cell for the position."""

_PURPOSE = int(rng.Purpose.CELL)


def draw_disjoint_ref(seed: int, numbers: npt.NDArray[np.integer], shape: Triple, edges: Edges, out: Swaps) -> None:
    """Draw swaps without any overlap of boxes on the CPU; the definition of `draw_disjoint_on_gpu`.

    `dali_cr.recipe.swap.Swap` describes the lattice and the distribution.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64
        Sample numbers; negative ones are reinterpreted as unsigned.
    shape : (3,) int
        (D, H, W) of the arrays.
    edges : three (low, high)
        Edges of the boxes along D, H, W, both ends included.
    out : (B, G, T, 3, 3) int32
        Output: separate swaps for each of G arrays per sample. The lattice must have at least 2T cells.

    Raises
    ------
    ValueError
        If the seed is out of range.

    Examples
    --------
    >>> swaps = np.empty((1, 1, 2, 3, 3), np.int32)
    >>> draw_disjoint_ref(0, np.array([7]), (1, 1, 8), ((1, 1), (1, 1), (2, 2)), swaps)
    >>> sorted(swaps[0, 0, :, :2, 2].ravel().tolist())
    [0, 2, 4, 6]
    """
    rng.check_seed(seed)
    order = np.empty(math.prod(length // high for length, (_, high) in zip(shape, edges, strict=True)), np.int32)
    _draw_disjoint(np.uint64(seed), numbers.astype(np.uint64), shape, edges, order, out)


@compiled
def _draw_disjoint(
    seed: np.uint64,
    numbers: npt.NDArray[np.uint64],
    shape: Triple,
    edges: Edges,
    order: npt.NDArray[np.int32],
    out: Swaps,
) -> None:
    """Draw the swaps of samples into `out`; `order` is scratch memory for the cell numbers."""
    counts = shape[0] // edges[0][1], shape[1] // edges[1][1], shape[2] // edges[2][1]
    groups, iterations = out.shape[1], out.shape[2]
    for sample in range(numbers.size):
        for group in range(groups):
            for place in range(order.size):
                order[place] = place
            for turn in range(iterations):
                swap, block = out[sample, group, turn], _BLOCKS * (group * iterations + turn)
                cells = draw_pair(seed, numbers[sample], block, _PURPOSE)
                draw_size(draw_pair(seed, numbers[sample], block + 1, _PURPOSE), edges, swap[2])
                for box in range(2):
                    cell = pick(order, 2 * turn + box, cells[box])
                    words = in_three(draw_pair(seed, numbers[sample], block + 2 + box, _PURPOSE))
                    along = cell // (counts[1] * counts[2]), cell // counts[2] % counts[1], cell % counts[2]
                    for axis in range(3):
                        start = along[axis] * shape[axis] // counts[axis]
                        stop = (along[axis] + 1) * shape[axis] // counts[axis]
                        swap[box, axis] = start + below(words[axis], stop - start - swap[2, axis] + 1)


def draw_disjoint_on_gpu(seed: int, numbers: Any, shape: Triple, edges: Edges, out: Any) -> None:
    """Draw swaps without any overlap of boxes on the GPU; same bits as `draw_disjoint_ref`.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64 CuPy array, contiguous
        Sample numbers.
    shape : (3,) int
    edges : three (low, high)
    out : (B, G, T, 3, 3) int32 CuPy array, contiguous
        Output: the swaps.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the seed is out of range.
    """
    check_drawing(seed, numbers, out, ("G", "T"))
    if out.size:
        _, groups, iterations = out.shape[:3]
        sizes = (groups, iterations, *shape, *(edge for pair in edges for edge in pair))
        scalars = (np.uint64(seed), np.int32(_PURPOSE), *(np.int32(n) for n in sizes))
        launch.kernel("draw_disjoint", *_SOURCES)(
            (len(numbers) * groups,), threads_of(iterations), (out, numbers, *scalars)
        )
