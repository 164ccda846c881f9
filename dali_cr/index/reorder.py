"""Reorder and flip the axes of an indexed volume, with its foreground map; its file does not change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import cell_edge
from dali_cr.index.volumes import Volume
from dali_cr.volume.corners import match_axes
from dali_cr.volume.geometry import Triple


def reorder(volume: Volume, order: Triple, flips: tuple[bool, bool, bool] = (False, False, False)) -> Volume:
    """Return a volume with its axes reordered and flipped.

    Parameters
    ----------
    volume : Volume
    order : (3,) int
        The current axis 0, 1 or 2 (D, H, W) that becomes each new axis.
    flips : (3,) bool
        Which of the new axes are flipped.
    """
    geometry = volume.geometry.turned(order)
    foreground: npt.NDArray[np.integer] = volume.foreground.transpose(order)
    occupied = [volume.occupied[axis] for axis in order]
    for axis in np.flatnonzero(flips).tolist():
        foreground = _flip_cells(foreground, axis, geometry.shape[axis])
        occupied[axis] = occupied[axis][::-1]
    d, h, w = occupied
    return replace(volume, geometry=geometry.flipped(flips), foreground=foreground, occupied=(d, h, w))


def align(volume: Volume, grid: Volume) -> Volume | None:
    """Return a volume with its axes reordered to those of another volume on the same grid; None on another grid."""
    geometry, target = volume.geometry, grid.geometry
    found = match_axes(geometry.shape, geometry.affine, target.shape, target.affine)
    if found is None or found == ((0, 1, 2), (False, False, False)):
        return volume if found else None
    return reorder(volume, *found)


def _flip_cells(cells: npt.NDArray[np.integer], axis: int, length: int) -> npt.NDArray[np.integer]:
    """Return the coarse foreground map of a volume that is flipped along an axis of `length` voxels.

    The last cell may be shorter than the others, so the flipped cells have other bounds. The foreground is assumed to
    be distributed evenly within each cell.
    """
    edge = cell_edge(length)
    starts = np.arange(0, length, edge)
    stops = np.minimum(starts + edge, length)
    first, last = length - stops, length - starts  # bounds of the current cells after the flip
    shared = np.minimum(stops[:, None], last) - np.maximum(starts[:, None], first)
    shares = np.maximum(shared, 0) / (stops - starts)
    moved = np.moveaxis(np.tensordot(shares, cells, (1, axis)), 0, axis)
    return np.minimum(np.ceil(np.round(moved, 9)), 255).astype(cells.dtype)
