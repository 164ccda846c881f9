"""Whether two grids of voxels are the same, by where their corners lie in mm.

Entries of two affines say little: a slice thickness that differs by 1 % moves the last of 400 slices by 4 voxels, and
the same grid may be stored along other axes. The positions of the eight corner voxels decide both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int]
Flips = tuple[bool, bool, bool]
Matrix = Sequence[Sequence[float]]

_ORDERS: list[Shape] = [(a, b, 3 - a - b) for a, b in permutations((0, 1, 2), 2)]
_FLIPS: list[Flips] = [(d, h, w) for d, h, w in product((False, True), repeat=3)]

TOLERANCE = 0.1
"""Voxels of two files lie at the same positions if none is farther off than this share of the smallest voxel edge.

Headers round: to float32, whose quaternions near a rotation of 180 degrees are off by some 0.03 voxels at the far
corner of a large volume, or to four decimals, which makes 0.07. Nearest-neighbour resampling is off by up to 0.5.
"""


def farthest_corner(shape: Shape, one: Matrix, other: Matrix) -> float:
    """Return the distance between the corner voxels of two grids of one shape, in mm, where it is largest.

    Parameters
    ----------
    shape : (D, H, W) int
    one, other : (4, 4) float
        From voxel (x, y, z) to mm.

    Examples
    --------
    >>> thicker = np.diag([1.0, 1.0, 1.01, 1.0]).tolist()
    >>> round(farthest_corner((401, 3, 3), np.eye(4).tolist(), thicker), 6)
    4.0
    """
    return float(np.linalg.norm(_positions(one, shape) - _positions(other, shape), axis=0).max())


def tolerance_mm(shape: Shape, affine: Matrix) -> float:
    """Return how far apart, in mm, two voxels at the same position may be.

    The thickness of a single slice is no measure: nothing lies beside it.
    """
    edges = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]
    lengths = np.array(shape)
    return TOLERANCE * float(edges[lengths > 1].min() if (lengths > 1).any() else edges.min())


def match_axes(own_shape: Shape, own: Matrix, shape: Shape, affine: Matrix) -> tuple[Shape, Flips] | None:
    """Find how the axes of one grid must be reordered and flipped to be those of another.

    Parameters
    ----------
    own_shape : (D, H, W) int
    own : (4, 4) float
        Of the grid whose axes are reordered.
    shape : (D, H, W) int
    affine : (4, 4) float
        Of the grid that is compared with.

    Returns
    -------
    order, flips : (3,) int, (3,) bool
        Which of the own axes 0, 1, 2 (D, H, W) each of the new ones is, and which of these are flipped. None instead of
        the pair where the grids differ.

    Examples
    --------
    >>> swapped = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    >>> match_axes((4, 5, 6), swapped, (4, 6, 5), np.eye(4).tolist())
    ((0, 2, 1), (False, False, False))
    """
    if sorted(own_shape) != sorted(shape):
        return None
    with np.errstate(all="ignore"):  # of corners that lie at 1e200 mm
        limit = tolerance_mm(shape, affine)
        wanted, found = _positions(affine, shape), _positions(own, own_shape)
        # The centre is where it is, whatever the axes: most grids that differ are told by it.
        if not np.linalg.norm(wanted.mean(1) - found.mean(1)) <= limit:
            return None
        for order in _ORDERS:
            if tuple(own_shape[axis] for axis in order) != tuple(shape):
                continue
            for flips in _FLIPS:
                found = _positions(own, own_shape, order, flips)
                if np.linalg.norm(found - wanted, axis=0).max() <= limit:
                    return order, flips
    return None


def _positions(
    affine: Matrix, shape: Shape, order: Shape = (0, 1, 2), flips: Flips = (False, False, False)
) -> npt.NDArray[np.float64]:
    """Return the positions of the corner voxels in mm, (3, 8), in the sequence of the reordered, flipped axes."""
    return np.asarray(np.asarray(affine, np.float64)[:3] @ _corners(shape, order, flips))


def _corners(shape: Shape, order: Shape = (0, 1, 2), flips: Flips = (False, False, False)) -> npt.NDArray[np.float64]:
    """Return the corner voxels (x, y, z, 1) of a grid as columns, in the sequence of the reordered, flipped axes."""
    last = np.array(shape, np.float64) - 1
    columns = np.ones((4, 8))
    for column, ends in enumerate(product((0, 1), repeat=3)):
        for new, axis in enumerate(order):
            columns[2 - axis, column] = last[axis] * (ends[new] != flips[new])
    return columns
