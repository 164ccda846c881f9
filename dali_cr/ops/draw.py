"""`draw_swaps`, `draw_disjoint`, `draw_blocks`: draw boxes to swap or to mask (kernels/draw.cu).

`draw_swaps` is uniform over all pairs of disjoint boxes, without rejection. Two boxes of equal size are disjoint if
they are separated along at least one axis. Pairs are counted by the first axis (in the order D, H, W) that separates
them: they overlap along the axes before it, are apart along it, and are arbitrary along the axes after it. One random
word chooses this axis in proportion to the counts. One word per axis then chooses the pair of origins along that axis,
with a closed form. All origins in [0, length - edge] are possible.

Rejection sampling has the same distribution but is slow for large patches: two 256 x 512 patches in a 512 x 512 image
are disjoint in 3 of 100,000 draws.

`draw_disjoint` draws a cell of a lattice for each box, `draw_blocks` draws blocks of a grid, both without replacement,
as the first elements of a Fisher-Yates shuffle. The kernels do not store the shuffled cells; they trace each element
back through the earlier exchanges.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops import launch
from dali_cr.ops.cpu.philox import below, draw_pair, unit
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Swaps = npt.NDArray[np.int32]
Edges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_SOURCES = ("philox.cuh", "draw.cu")
VARIANTS: tuple[launch.Variant, ...] = tuple(
    (entry, _SOURCES, ()) for entry in ("draw_swaps", "draw_disjoint", "draw_blocks")
)
_THREADS = 128
_MOST_THREADS = 1024

_BLOCKS = 3
"""Philox blocks per swap: two for the axis and the three pairs of origins, one for the edges."""

_CELL_BLOCKS = 4
"""Philox blocks per swap without overlap: one for both cells, one for the edges, one per cell for the position."""

_PURPOSE, _CELL, _MASK = int(rng.Purpose.SWAP), int(rng.Purpose.CELL), int(rng.Purpose.MASK)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


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
    _check(seed, numbers, out, "T")
    samples, iterations = out.shape[:2]
    if out.size:
        sizes = (samples, iterations, *shape, *(edge for pair in edges for edge in pair))
        scalars = (np.uint64(seed), np.int32(_PURPOSE), *(np.int32(n) for n in sizes))
        grid = (-(-samples * iterations // _THREADS),)
        launch.kernel("draw_swaps", *_SOURCES)(grid, (_THREADS,), (out, numbers, *scalars))


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
    order = np.empty(_count_cells(shape, edges), np.int32)
    _draw_disjoint(np.uint64(seed), numbers.astype(np.uint64), shape, edges, order, out)


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
    _check(seed, numbers, out, "G, T")
    if out.size:
        _, groups, iterations = out.shape[:3]
        sizes = (groups, iterations, *shape, *(edge for pair in edges for edge in pair))
        scalars = (np.uint64(seed), np.int32(_CELL), *(np.int32(n) for n in sizes))
        launch.kernel("draw_disjoint", *_SOURCES)(
            (len(numbers) * groups,), _threads(iterations), (out, numbers, *scalars)
        )


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
    _check(seed, numbers, out, "M")
    if out.size:
        scalars = (np.uint64(seed), np.int32(_MASK), *(np.int32(n) for n in (out.shape[1], *shape, *block)))
        launch.kernel("draw_blocks", *_SOURCES)((len(numbers),), _threads(out.shape[1]), (out, numbers, *scalars))


def _check(seed: int, numbers: Any, out: Any, counts: str) -> None:
    """Raise ValueError or TypeError unless seed, numbers and `out`, (B, counts, 3, 3) int32, fit the kernel."""
    rng.check_seed(seed)
    launch.check_array(numbers, "numbers", np.uint64 if numbers.dtype == np.uint64 else np.int64, 1)
    launch.check_array(out, "out", np.int32, 4 + counts.count(","))
    if out.shape[0] != len(numbers) or out.shape[-2:] != (3, 3):
        raise ValueError(f"out: expected ({len(numbers)}, {counts}, 3, 3), got {out.shape}")


def _threads(boxes: int) -> tuple[int]:
    """Return the block size of a kernel with one thread per box, up to the limit of a block."""
    return (min(-(-boxes // 32) * 32, _MOST_THREADS),)


def _count_cells(shape: Triple, edges: Edges) -> int:
    """Return the number of cells of the lattice in which boxes are drawn."""
    return math.prod(length // high for length, (_, high) in zip(shape, edges, strict=True))


@compiled
def _draw(seed: np.uint64, numbers: npt.NDArray[np.uint64], shape: Triple, edges: Edges, out: Swaps) -> None:
    """Draw the swaps of samples into `out`."""
    for sample in range(numbers.size):
        for turn in range(out.shape[1]):
            which, ranks = draw_pair(seed, numbers[sample], _BLOCKS * turn, _PURPOSE)
            more = draw_pair(seed, numbers[sample], _BLOCKS * turn + 1, _PURPOSE)
            last = draw_pair(seed, numbers[sample], _BLOCKS * turn + 2, _PURPOSE)
            swap = out[sample, turn]
            _draw_size(last, edges, swap[2])
            separated = _first_separated(which, shape, swap[2])
            words = (ranks, more[0], more[1])
            for axis in range(3):
                p = np.int64(swap[2, axis])
                pair = _draw_axis(words[axis], shape[axis] - p + 1, p, separated - axis)
                swap[0, axis], swap[1, axis] = pair


@compiled
def _draw_size(pair: tuple[np.uint64, np.uint64], edges: Edges, out: npt.NDArray[np.int32]) -> None:
    """Draw the edges of a pair of boxes."""
    words = _in_three(pair)
    for axis in range(3):
        low, high = edges[axis]
        out[axis] = low + below(words[axis], high - low + 1)


@compiled
def _in_three(pair: tuple[np.uint64, np.uint64]) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Split two 64-bit words into two of 32 bits and one of 64 bits, for D, H and W."""
    return pair[0] >> _HALF, pair[0] & _LOW, pair[1]


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
                swap, block = out[sample, group, turn], _CELL_BLOCKS * (group * iterations + turn)
                cells = draw_pair(seed, numbers[sample], block, _CELL)
                _draw_size(draw_pair(seed, numbers[sample], block + 1, _CELL), edges, swap[2])
                for box in range(2):
                    cell = _pick(order, 2 * turn + box, cells[box])
                    words = _in_three(draw_pair(seed, numbers[sample], block + 2 + box, _CELL))
                    along = cell // (counts[1] * counts[2]), cell // counts[2] % counts[1], cell % counts[2]
                    for axis in range(3):
                        start = along[axis] * shape[axis] // counts[axis]
                        stop = (along[axis] + 1) * shape[axis] // counts[axis]
                        swap[box, axis] = start + below(words[axis], stop - start - swap[2, axis] + 1)


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
            cell = _pick(order, turn, draw_pair(seed, numbers[sample], turn // 2, _MASK)[turn % 2])
            box, along = out[sample, turn], (cell // (rows * columns), cell // columns % rows, cell % columns)
            for axis in range(3):
                start = along[axis] * block[axis]
                box[0, axis], box[1, axis] = start, 0
                box[2, axis] = min(np.int64(block[axis]), shape[axis] - start)


@compiled
def _pick(order: npt.NDArray[np.int32], turn: int, word: np.uint64) -> np.int64:
    """Perform step `turn` of a Fisher-Yates shuffle; return the element at that position."""
    other = turn + below(word, order.size - turn)
    order[turn], order[other] = order[other], order[turn]
    return np.int64(order[turn])


@compiled
def _pair_counts(m: int, p: int) -> tuple[int, int, int]:
    """Count the pairs of origins in [0, m): at least p apart, closer than p, and all."""
    k = max(m - p, 0)
    apart = k * (k + 1)
    return apart, m * m - apart, m * m


@compiled
def _first_separated(word: np.uint64, shape: Triple, sizes: npt.NDArray[np.int32]) -> int:
    """Choose the first axis along which the boxes are apart, in proportion to the number of pairs."""
    p0, p1, p2 = np.int64(sizes[0]), np.int64(sizes[1]), np.int64(sizes[2])
    apart0, close0, _ = _pair_counts(shape[0] - p0 + 1, p0)
    apart1, close1, free1 = _pair_counts(shape[1] - p1 + 1, p1)
    apart2, _, free2 = _pair_counts(shape[2] - p2 + 1, p2)
    first = np.float64(apart0) * np.float64(free1) * np.float64(free2)
    second = first + np.float64(close0) * np.float64(apart1) * np.float64(free2)
    total = second + np.float64(close0) * np.float64(close1) * np.float64(apart2)
    # The product may round up to the total, which would choose an axis without pairs.
    point = min(unit(word) * total, np.nextafter(total, 0.0))
    return int(point >= first) + int(point >= second)


@compiled
def _draw_axis(word: np.uint64, m: int, p: int, later: int) -> tuple[Any, Any]:
    """Draw the origins along an axis with m positions; `later` is the first separated axis minus this axis."""
    apart, close, free = _pair_counts(m, p)
    if later == 0:
        return _pair_apart(below(word, apart), m, p)
    if later > 0:
        return _pair_close(below(word, close), m, p)
    rank = below(word, free)
    return rank // m, rank % m


@compiled
def _pair_apart(rank: int, m: int, p: int) -> tuple[int, int]:
    """Return the rank-th of the k (k + 1) pairs in [0, m) with |a - b| >= p, where k = m - p.

    In row i of a k x (k + 1) table, the entries right of the diagonal are the pairs with b >= a + p, the others the
    pairs with a >= b + p.
    """
    k1 = max(m - p, 0) + 1
    i, j = rank // k1, rank % k1
    return (i, j - 1 + p) if j > i else (i + p, j)


@compiled
def _pair_close(rank: int, m: int, p: int) -> tuple[int, int]:
    """Return the rank-th of the pairs in [0, m) with |a - b| < p.

    First the m pairs with a = b; then rows d = 1 ... q - 1 of 2 m - q entries, q = min(p, m): the m - d pairs with
    b = a + d, and the m - (q - d) pairs with a = b + q - d.
    """
    if rank < m:
        return rank, rank
    q = min(p, m)
    width = max(2 * m - q, 1)
    d, s = 1 + (rank - m) // width, (rank - m) % width
    return (s, s + d) if s < m - d else (s - (m - d) + q - d, s - (m - d))
