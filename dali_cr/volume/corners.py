"""Compare two voxel grids by the positions of their corner voxels in mm.

Affines cannot be compared entry by entry: a slice thickness that differs by 1 % moves the last of 400 slices by 4
voxels, and the same grid may be stored with its axes in another order.
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
"""Two grids are the same if no corner differs by more than this share of the smallest voxel edge.

Headers are rounded. Rounding to float32 moves the far corner of a large volume by up to 0.03 voxels (quaternions near
180 degrees), rounding to four decimals by up to 0.07. Nearest-neighbour resampling is off by up to 0.5.
"""


def farthest_corner(shape: Shape, one: Matrix, other: Matrix) -> float:
    """Return the largest distance in mm between corresponding corner voxels of two grids of the same shape.

    Parameters
    ----------
    shape : (D, H, W) int
    one, other : (4, 4) float
        Affines from voxel (x, y, z) to mm.

    Examples
    --------
    >>> thicker = np.diag([1.0, 1.0, 1.01, 1.0]).tolist()
    >>> round(farthest_corner((401, 3, 3), np.eye(4).tolist(), thicker), 6)
    4.0
    """
    return float(np.linalg.norm(_positions(one, shape) - _positions(other, shape), axis=0).max())


def tolerance_mm(shape: Shape, affine: Matrix) -> float:
    """Return the largest distance in mm at which two voxels count as being at the same position.

    Axes of length 1 are ignored, unless all are: the thickness of a single slice is often arbitrary.
    """
    edges = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]
    lengths = np.array(shape)
    return TOLERANCE * float(edges[lengths > 1].min() if (lengths > 1).any() else edges.min())


def match_axes(shape: Shape, affine: Matrix, target_shape: Shape, target: Matrix) -> tuple[Shape, Flips] | None:
    """Find the order and flips that map the axes of one grid to those of another.

    Parameters
    ----------
    shape : (D, H, W) int
    affine : (4, 4) float
        Grid whose axes are reordered.
    target_shape : (D, H, W) int
    target : (4, 4) float
        Grid to match.

    Returns
    -------
    order, flips : (3,) int, (3,) bool
        The axis 0, 1 or 2 (D, H, W) that becomes each new axis, and whether the new axis is flipped. None instead of
        the pair if the grids differ.

    Examples
    --------
    >>> swapped = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    >>> match_axes((4, 5, 6), swapped, (4, 6, 5), np.eye(4).tolist())
    ((0, 2, 1), (False, False, False))
    """
    if sorted(shape) != sorted(target_shape):
        return None
    with np.errstate(all="ignore"):  # corners may lie at 1e200 mm
        limit = tolerance_mm(target_shape, target)
        expected, corners = _positions(target, target_shape), _positions(affine, shape)
        # The centre does not depend on the order of the axes; it already differs for most unequal grids.
        if not np.linalg.norm(expected.mean(1) - corners.mean(1)) <= limit:
            return None
        for order in _ORDERS:
            if tuple(shape[axis] for axis in order) != tuple(target_shape):
                continue
            for flips in _FLIPS:
                corners = _positions(affine, shape, order, flips)
                if np.linalg.norm(corners - expected, axis=0).max() <= limit:
                    return order, flips
    return None


def _positions(
    affine: Matrix, shape: Shape, order: Shape = (0, 1, 2), flips: Flips = (False, False, False)
) -> npt.NDArray[np.float64]:
    """Return the positions of the corner voxels in mm, (3, 8), in the order of the reordered and flipped axes."""
    return np.asarray(np.asarray(affine, np.float64)[:3] @ _corners(shape, order, flips))


def _corners(shape: Shape, order: Shape = (0, 1, 2), flips: Flips = (False, False, False)) -> npt.NDArray[np.float64]:
    """Return the corner voxels (x, y, z, 1) of a grid as columns, in the order of the reordered and flipped axes."""
    last = np.array(shape, np.float64) - 1
    columns = np.ones((4, 8))
    for column, ends in enumerate(product((0, 1), repeat=3)):
        for new, axis in enumerate(order):
            columns[2 - axis, column] = last[axis] * (ends[new] != flips[new])
    return columns
