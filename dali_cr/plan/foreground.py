"""Draw origins of boxes near the foreground, with the coarse maps of the index, or uniformly."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.index.values.cells import cell_edge
from dali_cr.ops.cpu.philox import below, unit
from dali_cr.plan.affine import Floats, Ints
from dali_cr.plan.window import room
from dali_cr.system.compiled import compiled

ORIGIN_WORDS = 6
"""Random words per origin: foreground or uniform, cell, three positions, one unused."""

SHAPE, CELLS, EDGES, LENGTHS = range(4)
"""Rows in the table of a case, each (D, H, W): shape of the volume, shape of the coarse map, edges of its cells in
voxels, and lengths of the volume at the spacing of the recipe."""

_MOST_CASES = 1024
"""Number of cases whose running sums are kept, at most 32 KiB each."""


class Sums(NamedTuple):
    """Running sums of coarse maps, over all channels.

    Attributes
    ----------
    values : (n,) int64
        For each loaded case: 0, then the sum of its map up to each cell.
    starts : (cases,) int64
        Offset of the sums of each case, -1 if they are not loaded.
    """

    values: Ints
    starts: Ints


class Foreground:
    """Keeps running sums of coarse maps in memory; may be used by several threads.

    Parameters
    ----------
    index : Index
    most : int
        Largest number of cases whose sums are kept. If it is exceeded, only the sums of the current batch are kept.
    """

    def __init__(self, index: Index, most: int = _MOST_CASES) -> None:
        self._index, self._most = index, most
        self._lock = threading.Lock()
        self._sums, self._held, self._used = self._none(), 0, 0

    def sums(self, cases: Ints) -> Sums:
        """Return sums that include these cases; later calls do not change them."""
        sums = self._sums
        if (sums.starts[cases] < 0).any():
            with self._lock:
                sums = self._sums = self._add(cases)
        return sums

    def _add(self, cases: Ints) -> Sums:
        """Return the current sums extended by these cases."""
        sums, missing = self._sums, np.unique(cases[self._sums.starts[cases] < 0])
        if self._held + len(missing) > self._most:
            sums, missing, self._held, self._used = self._none(), np.unique(cases), 0, 0
        rows = [self._sum_cells(case) for case in missing.tolist()]
        ends = self._used + np.cumsum([0, *map(len, rows)])
        starts, values = sums.starts.copy(), sums.values
        starts[missing] = ends[:-1]
        if ends[-1] > len(values):
            values = np.empty(2 * int(ends[-1]), np.int64)
            values[: self._used] = sums.values[: self._used]
        for row, end in zip(rows, ends[1:].tolist(), strict=True):
            values[end - len(row) : end] = row  # beyond the end of earlier sums, which may be in use
        self._held, self._used = self._held + len(missing), int(ends[-1])
        return Sums(values, starts)

    def _none(self) -> Sums:
        return Sums(np.empty(0, np.int64), np.full(len(self._index), -1, np.int64))

    def _sum_cells(self, case: int) -> Ints:
        """Return the running sum of the coarse map of a case over all channels, starting with 0."""
        maps = [volume.foreground.ravel() for volume in self._index.cases[case].volumes]
        cells = maps[0] if len(maps) == 1 else np.sum(maps, axis=0, dtype=np.int64)
        sums = np.zeros(cells.size + 1, np.int64)
        np.cumsum(cells, dtype=np.int64, out=sums[1:])
        return sums


def table_of(index: Index, lengths: Ints) -> Ints:
    """Return the table of all cases, (cases, 4, 3) int64, with the rows `SHAPE`, `CELLS`, `EDGES` and `LENGTHS`."""
    shapes = np.array([case.shape for case in index.cases], np.int64)
    cells = np.array([case.volumes[0].foreground.shape for case in index.cases], np.int64)
    return np.stack([shapes, cells, cell_edge(shapes), lengths], axis=1)


@compiled
def draw_origin(
    words: npt.NDArray[np.uint64],
    case: Ints,
    factors: Floats,
    size: Ints,
    chance: float,
    layer: int,
    sums: Ints,
    first: int,
    origin: Ints,
) -> None:
    """Draw the origin of a box: centred on the foreground with probability `chance`, otherwise uniform.

    A box larger than the volume is centred. Without foreground the origin is uniform.

    Parameters
    ----------
    words : (6,) uint64
    case : (4, 3) int64
        Row of `table_of`.
    factors : (3,) float64
        Factors from voxels of the volume to voxels of the recipe's spacing.
    size : (3,) int64
    chance : float
    layer : int
        Layer of the coarse map along D from which the cell is drawn; -1 for all layers.
    sums : (n,) int64
    first : int
        Offset of the sums of the case; unused if `chance` is 0.
    origin : (3,) int64
        Output.
    """
    cell = _draw_cell(words[1], case[CELLS], layer, sums, first) if unit(words[0]) < chance else -1
    rows, columns = case[CELLS, 1], case[CELLS, 2]
    place = (cell // (rows * columns), cell // columns % rows, cell % columns)
    for axis in range(3):
        low, high = room(size[axis], case[LENGTHS, axis])
        if cell < 0:
            origin[axis] = low + below(words[2 + axis], high - low + 1)
        else:
            # The last cell of an axis may be shorter.
            start = place[axis] * case[EDGES, axis]
            voxel = start + below(words[2 + axis], min(case[EDGES, axis], case[SHAPE, axis] - start))
            centre = np.int64((voxel + 0.5) * factors[axis])
            origin[axis] = min(max(centre - size[axis] // 2, low), high)


@compiled
def _draw_cell(word: np.uint64, cells: Ints, layer: int, sums: Ints, first: int) -> int:
    """Draw a cell of a coarse map or of one layer, in proportion to its foreground; -1 if there is none."""
    plane = cells[1] * cells[2]
    low, high = (0, cells[0] * plane) if layer < 0 else (layer * plane, (layer + 1) * plane)
    before = sums[first + low]
    total = sums[first + high] - before
    if total <= 0:
        return -1
    rank = before + below(word, total)
    while low + 1 < high:
        middle = (low + high) // 2
        if sums[first + middle] <= rank:
            low = middle
        else:
            high = middle
    return low
