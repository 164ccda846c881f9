"""`draw_blocks`: draw the masked blocks of a grid, without replacement (kernels/draw_blocks.cu).

The blocks of a sample are the first elements of a Fisher-Yates shuffle, as the cells of `dali_cr.ops.draw.disjoint`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.cpu.philox import draw_pair
from dali_cr.ops.draw.boxes import check_drawing, pick, threads_of
from dali_cr.ops.gpu import launch
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

_SOURCES = ("philox.cuh", "draw.cuh", "shuffle.cuh", "draw_blocks.cu")
VARIANTS: tuple[launch.Variant, ...] = (("draw_blocks", _SOURCES, ()),)
_PURPOSE = int(rng.Purpose.MASK)


def draw_blocks_ref(seed: int, numbers: npt.NDArray[np.integer], shape: Triple, block: Triple, out: Swaps) -> None:
    """Draw the masked blocks of samples on the CPU; the definition of `draw_blocks_on_gpu`.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64
        Sample numbers; negative ones are reinterpreted as unsigned.
    shape : (3,) int
        (D, H, W) of the arrays.
    block : (3,) int
        Edges of a block; the last block of an axis may be shorter.
    out : (B, M, 3, 3) int32
        Output: origin, zeros and size of M different blocks, with equal probability for every sequence.

    Raises
    ------
    ValueError
        If the seed is out of range.

    Examples
    --------
    >>> blocks = np.empty((1, 2, 3, 3), np.int32)
    >>> draw_blocks_ref(0, np.array([7]), (1, 1, 10), (1, 1, 4), blocks)
    >>> blocks[0, :, 0, 2].tolist(), blocks[0, :, 2, 2].tolist()
    ([8, 0], [2, 4])
    """
    rng.check_seed(seed)
    order = np.empty(math.prod(-(-length // edge) for length, edge in zip(shape, block, strict=True)), np.int32)
    _draw_blocks(np.uint64(seed), numbers.astype(np.uint64), shape, block, order, out)


@compiled
def _draw_blocks(
    seed: np.uint64,
    numbers: npt.NDArray[np.uint64],
    shape: Triple,
    block: Triple,
    order: npt.NDArray[np.int32],
    out: Swaps,
) -> None:
    """Draw the masked blocks of samples into `out`; `order` is scratch memory for the block numbers."""
    rows, columns = -(-shape[1] // block[1]), -(-shape[2] // block[2])
    for sample in range(numbers.size):
        for place in range(order.size):
            order[place] = place
        for turn in range(out.shape[1]):
            cell = pick(order, turn, draw_pair(seed, numbers[sample], turn // 2, _PURPOSE)[turn % 2])
            box, along = out[sample, turn], (cell // (rows * columns), cell // columns % rows, cell % columns)
            for axis in range(3):
                start = along[axis] * block[axis]
                box[0, axis], box[1, axis] = start, 0
                box[2, axis] = min(np.int64(block[axis]), shape[axis] - start)


def draw_blocks_on_gpu(seed: int, numbers: Any, shape: Triple, block: Triple, out: Any) -> None:
    """Draw the masked blocks of samples on the GPU; same bits as `draw_blocks_ref`.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    numbers : (B,) int64 or uint64 CuPy array, contiguous
        Sample numbers.
    shape : (3,) int
    block : (3,) int
    out : (B, M, 3, 3) int32 CuPy array, contiguous
        Output: the blocks.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the seed is out of range.
    """
    check_drawing(seed, numbers, out, ("M",))
    if out.size:
        scalars = (np.uint64(seed), np.int32(_PURPOSE), *(np.int32(n) for n in (out.shape[1], *shape, *block)))
        launch.kernel("draw_blocks", *_SOURCES)((len(numbers),), threads_of(out.shape[1]), (out, numbers, *scalars))
