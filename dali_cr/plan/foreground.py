"""Voxels drawn from the foreground, by the coarse maps that the index holds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.index.values.statistics import cell_edge


class Foreground:
    """Draws voxels near the foreground of an index's cases.

    Parameters
    ----------
    index : Index

    Attributes
    ----------
    shapes : (cases, 3) int64
        (D, H, W) of each case.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.shapes = np.array([case.shape for case in index.cases])
        self._sums = lru_cache(maxsize=1024)(self._sum_cells)

    def occupies(self, case: int, layer: int) -> bool:
        """Whether a layer of a case's coarse map, along D, has any foreground."""
        return bool(self._sums(case, layer)[-1])

    def draw(
        self,
        cases: npt.NDArray[np.int64],
        words: npt.NDArray[np.uint64],
        layers: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Draw a voxel of each case: a cell of its map in proportion to its foreground, then a place in that cell.

        Parameters
        ----------
        cases : (n,) int64
        words : (n, 4) uint64
            The first draws the cell, the others the place.
        layers : (n,) int64, optional
            Draw from this layer of each map alone.

        Returns
        -------
        voxels : (n, 3) int64
        """
        chosen = [None] * len(cases) if layers is None else layers.tolist()
        cells = [self._cell(*three) for three in zip(cases.tolist(), words[:, 0].tolist(), chosen, strict=True)]
        return place_in_cell(np.array(cells), words[:, 1:], self.shapes[cases])

    def _cell(self, case: int, word: int, layer: int | None) -> tuple[int, int, int]:
        """Draw a cell of the coarse map, or of one layer of it, in proportion to its foreground in all channels."""
        upto = self._sums(case, layer)
        cell = int(upto.searchsorted(word % int(upto[-1]), side="right"))
        _, rows, columns = self._index.cases[case].volumes[0].foreground.shape
        return cell // (rows * columns) if layer is None else layer, cell // columns % rows, cell % columns

    def _sum_cells(self, case: int, layer: int | None) -> npt.NDArray[np.int64]:
        """Return the running sum of a case's coarse map, or of one layer of it."""
        maps = np.array([volume.foreground for volume in self._index.cases[case].volumes])
        return np.cumsum(np.sum(maps if layer is None else maps[:, layer], axis=0, dtype=np.int64))


def place_in_cell(
    cells: npt.NDArray[np.int64], words: npt.NDArray[np.uint64], shapes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Draw a voxel of each cell; the last cell of an axis may be cut short."""
    edges = cell_edge(shapes)
    first = cells * edges
    return np.asarray(first + rng.below(words, np.minimum(edges, shapes - first)))
