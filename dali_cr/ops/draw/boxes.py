"""Sizes and cells of drawn boxes, and the checks that all operations of this folder share (kernels/draw.cuh)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.philox import below
from dali_cr.ops.gpu.arrays import INTEGERS, check_array
from dali_cr.system.compiled import compiled

Edges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Smallest and largest edge of a box along D, H, W."""

_MOST_THREADS = 1024
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def check_drawing(seed: int, numbers: Any, out: Any, axes: tuple[str, ...]) -> None:
    """Check the seed, sample numbers (B,) and output (B, *axes, 3, 3) int32 of a kernel.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the seed is out of range.
    """
    rng.check_seed(seed)
    check_array(numbers, "numbers", INTEGERS, ("B",))
    check_array(out, "out", np.int32, (len(numbers), *axes, 3, 3))


def threads_of(boxes: int) -> tuple[int]:
    """Return the block size of a kernel with one thread per box, up to the limit of a block."""
    return (min(-(-boxes // 32) * 32, _MOST_THREADS),)


@compiled
def draw_size(pair: tuple[np.uint64, np.uint64], edges: Edges, out: npt.NDArray[np.int32]) -> None:
    """Draw the edges of a pair of boxes."""
    words = in_three(pair)
    for axis in range(3):
        low, high = edges[axis]
        out[axis] = low + below(words[axis], high - low + 1)


@compiled
def in_three(pair: tuple[np.uint64, np.uint64]) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Split two 64-bit words into two of 32 bits and one of 64 bits, for D, H and W."""
    return pair[0] >> _HALF, pair[0] & _LOW, pair[1]


@compiled
def pick(order: npt.NDArray[np.int32], turn: int, word: np.uint64) -> np.int64:
    """Perform step `turn` of a Fisher-Yates shuffle; return the element at that position."""
    other = turn + below(word, order.size - turn)
    order[turn], order[other] = order[other], order[turn]
    return np.int64(order[turn])
