"""Where the foreground lies: the canonical view of raw voxels, slices with foreground, and a coarse map."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Geometry

Array = npt.NDArray[np.generic]
Flags = npt.NDArray[np.bool_]
Lengths = TypeVar("Lengths", int, npt.NDArray[np.int64])

_MAP_CELLS = 16
"""Largest number of cells of the coarse foreground map along an axis."""


def canonical_view(raw: Array, geometry: Geometry) -> Array:
    """Return a view of the raw voxels of one frame as canonical (D, H, W).

    Parameters
    ----------
    raw : (voxels,) contiguous
    geometry : Geometry
    """
    step = raw.dtype.itemsize
    strides = tuple(step * s for s in geometry.strides)
    return np.ndarray(geometry.shape, raw.dtype, raw.data, geometry.base * step, strides)


def cell_edge(length: Lengths) -> Lengths:
    """Return the edge in voxels of the cells of the coarse map, along an axis of `length` voxels."""
    return -(-length // _MAP_CELLS)


def occupied_slices(mask: Array) -> tuple[Flags, Flags, Flags]:
    """Return whether a (D, H, W) mask is true anywhere in each slice across D, H and W."""
    # Reduce the contiguous axis first, to pass over the mask only twice; the other axes need only the reduced rows.
    along = int(np.argmin(np.abs(mask.strides)))
    rows = np.logical_or.reduce(mask, axis=along, keepdims=True)

    def across(axis: int) -> Flags:
        others = tuple({0, 1, 2} - {axis})
        return np.asarray(np.logical_or.reduce(mask if axis == along else rows, axis=others), bool)

    return across(0), across(1), across(2)


def coarse_map(mask: Array) -> npt.NDArray[np.uint8]:
    """Return the share of each cell of a (D, H, W) mask that is true, in 255ths, rounded up."""
    edges = [cell_edge(length) for length in mask.shape]
    starts = [np.arange(0, length, edge) for length, edge in zip(mask.shape, edges, strict=True)]
    counts = np.empty([len(one) for one in starts], np.int64)
    # In slabs of cells, because reduceat converts each voxel to 8 bytes.
    for cell, start in enumerate(starts[0]):
        slab: npt.NDArray[Any] = mask[start : start + edges[0]].sum(0, dtype=np.int32)
        for axis in (1, 0):
            slab = np.add.reduceat(slab, starts[1 + axis], axis=axis, dtype=np.int64)
        counts[cell] = slab
    return np.asarray(-(-255 * counts // math.prod(edges)), np.uint8)
