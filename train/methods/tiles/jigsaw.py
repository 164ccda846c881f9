"""Jigsaw: which permutation the tiles of a grid were put in (Noroozi and Favaro 2016).

Published: a square of 225 × 225 pixels is divided into 3 × 3 cells of 75; from each cell a tile of 64 × 64 is cut at a
random place, so that borders do not match; every tile is normalised by its own mean and standard deviation, since they
would tell which tiles are neighbours; the class is one of a fixed set of permutations with large Hamming distances. The
public code has sets of 100 and of 701.

Project choices: the crop is that of other pretexts, with tiles in the published proportion to its cells; in 3-D the
grid is 2 × 2 × 2; 100 permutations by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.volume.geometry import Triple

from .permutations import MOST, choose_permutations
from .tiling import Drawn, Tiling, axes_of, edges_of

_TILE, _CELL = 64, 75
"""Published edges of a tile and of a cell."""

_GRIDS = {2: 3, 3: 2}
"""Cells along each axis, by the number of axes."""

_BLOCKS = 14
"""Philox blocks of a sample: words for its class, and for the place of 9 tiles along three axes."""


@dataclass(frozen=True, kw_only=True)
class Jigsaw(Tiling):
    """The tiles of a grid in another order; the class is the permutation.

    References
    ----------
    Noroozi, Favaro: Unsupervised learning of visual representations by solving jigsaw puzzles. ECCV (2016) 69-84.

    Examples
    --------
    >>> puzzle = fit_jigsaw((1, 225, 225), permutations=4)
    >>> puzzle.classes, puzzle.cells, puzzle.tile
    (4, (1, 3, 3), (1, 64, 64))
    >>> puzzle.name(puzzle.draw(seed=0, numbers=[7]).labels[0])
    '1 0 3 2 5 4 7 8 6'
    """

    permutations: int

    @property
    def cells(self) -> Triple:
        """Cells along each axis: 3 in 2-D, 2 in 3-D."""
        each = _GRIDS[len(axes_of(self.crop))]
        depth, height, width = (each if edge > 1 else 1 for edge in self.crop)
        return depth, height, width

    @property
    def tiles(self) -> int:
        """Number of tiles of a sample: 9 in 2-D, 8 in 3-D."""
        return math.prod(self.cells)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.permutations

    @property
    def mosaic(self) -> npt.NDArray[np.int64]:
        """The grid; the layers of a 3-D grid are side by side."""
        places = np.arange(self.tiles).reshape(self.cells)
        return np.concatenate(list(places if self.cells[1] > 1 else places.swapaxes(0, 1)), axis=1)

    @property
    def about(self) -> dict[str, Any]:
        """The grid; the permutations follow from their number."""
        return {"grid": list(self.cells)}

    def name(self, label: int) -> str:
        """Return a permutation: the cell of the tile at each place."""
        return " ".join(map(str, choose_permutations(self.tiles, self.permutations)[label]))

    def draw(self, seed: int, numbers: npt.ArrayLike) -> Drawn:
        """Draw a permutation, and the place of each tile within its cell, uniformly."""
        words = rng.draw_words(seed, numbers, rng.Purpose.TILE, _BLOCKS)
        labels = rng.below(words[:, 0], self.permutations)
        order = choose_permutations(self.tiles, self.permutations)[labels]
        crop, tile, cells = (np.array(one) for one in (self.crop, self.tile, self.cells))
        edges = crop // cells
        corners = np.stack(np.unravel_index(order, self.cells), -1) * edges + (crop - cells * edges) // 2
        moved = words[:, 1 : 1 + 3 * self.tiles].reshape(-1, self.tiles, 3)
        return Drawn(labels, corners + rng.below(moved, edges - tile + 1))

    @staticmethod
    def usual_edge(edge: int, cells: int) -> int:
        """Return the edge of a tile in the published relation to its cell."""
        return edge if cells == 1 else edge // cells * _TILE // _CELL


def fit_jigsaw(crop: Triple, tile: tuple[int, ...] | None = None, permutations: int = 100) -> Jigsaw:
    """Return the jigsaw of a crop.

    Parameters
    ----------
    crop : (D, H, W) int
    tile : tuple of int, optional
        One edge or three; by default in the published relation to the cells.
    permutations : int

    Raises
    ------
    ValueError
        If a tile does not fit into its cell, or there are not as many permutations.
    """
    puzzle = Jigsaw(crop=crop, tile=crop, permutations=permutations)
    most = min(MOST, math.factorial(puzzle.tiles))
    if not 2 <= permutations <= most:
        raise ValueError(f"--permutations: expected from 2 to {most}, got {permutations}")
    usual: Any = tuple(max(1, Jigsaw.usual_edge(*one)) for one in zip(crop, puzzle.cells, strict=True))
    edges = usual if tile is None else edges_of(tile, crop)
    for axis, edge, own, cells in zip("DHW", crop, edges, puzzle.cells, strict=True):
        if own > edge // cells:
            raise ValueError(
                f"--tile: expected tiles within the {cells} cells of {edge // cells} voxels along {axis}, got {own}; "
                "give a smaller --tile or a larger --crop"
            )
    return Jigsaw(crop=crop, tile=edges, permutations=permutations)
