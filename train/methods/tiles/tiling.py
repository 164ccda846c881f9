"""Interface of a tiling: which tiles of a crop a sample has, and the class to predict from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Triple


@dataclass(frozen=True)
class Drawn:
    """Tiles and classes of B samples with T tiles each."""

    labels: npt.NDArray[np.int64]
    """Class of each sample, (B,)."""
    starts: npt.NDArray[np.int64]
    """First voxel (D, H, W) of each tile within the crop, (B, T, 3)."""


@dataclass(frozen=True, kw_only=True)
class Tiling(ABC):
    """Tiles of a crop with a class for each sample, a pure function of (seed, sample number)."""

    crop: Triple
    tile: Triple
    """Voxels of a tile; 1 along an axis on which the crop is one voxel thick."""

    @property
    @abstractmethod
    def tiles(self) -> int:
        """Number of tiles of a sample."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    @abstractmethod
    def mosaic(self) -> npt.NDArray[np.int64]:
        """Numbers of the tiles in a picture, (rows, columns)."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Entries of config.json besides tile and classes."""

    @abstractmethod
    def draw(self, seed: int, numbers: npt.ArrayLike) -> Drawn:
        """Draw the tiles and classes of samples.

        Parameters
        ----------
        seed : int
        numbers : (B,) int
            Sample numbers. What is drawn for one does not depend on the others.
        """

    @abstractmethod
    def name(self, label: int) -> str:
        """Return the name of a class."""

    @staticmethod
    @abstractmethod
    def usual_edge(edge: int, cells: int) -> int:
        """Return the default edge of a tile in a crop with this edge, along an axis with this number of cells."""

    @property
    def cells(self) -> Triple:
        """Number of tiles side by side along each axis; 1 along an axis on which the crop is one voxel thick."""
        depth, height, width = (2 if edge > 1 else 1 for edge in self.crop)
        return depth, height, width

    def least_edge(self, axis: int, stride: int) -> int:
        """Return the smallest edge of a crop, a multiple of a stride, whose default tiles are not below the stride."""
        cells = self.cells[axis]
        return next(k * stride for k in count(1) if self.usual_edge(k * stride, cells) >= stride)


def axes_of(crop: Triple) -> list[int]:
    """Return the axes along which a crop has tiles: those of more than one voxel.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    axes = [axis for axis, edge in enumerate(crop) if edge > 1]
    if len(axes) < 2:
        raise ValueError(f"crop: expected two or three edges of more than one voxel for tiles, got {_shown(crop)}")
    return axes


def edges_of(tile: tuple[int, ...], crop: Triple) -> Triple:
    """Return the edges of a tile; a single number becomes 1 along an axis on which the crop is one voxel thick.

    Examples
    --------
    >>> edges_of((16,), (1, 64, 64)), edges_of((8, 16, 16), (32, 64, 64))
    ((1, 16, 16), (8, 16, 16))
    """
    if len(tile) not in (1, 3) or min(tile) < 1:
        raise ValueError(f"--tile: expected 1 or 3 positive numbers, got {_shown(tile)}")
    depth, height, width = tile if len(tile) == 3 else (tile[0] if edge > 1 else 1 for edge in crop)
    if any(edge == 1 != own for edge, own in zip(crop, (depth, height, width), strict=True)):
        raise ValueError(f"--tile: expected 1 along the edges of one voxel of {_shown(crop)}, got {_shown(tile)}")
    return depth, height, width


def _shown(edges: tuple[int, ...]) -> str:
    return " ".join(map(str, edges))
