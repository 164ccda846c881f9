"""Compute affine maps from voxels of views and crops to voxels of volumes, and the boxes that they reach.

The functions are compiled and process one view at a time, so that results do not depend on the batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@compiled
def compose(
    origin: Ints,
    size: Ints,
    flips: Flags,
    scales: Floats,
    cosines: Floats,
    sines: Floats,
    units: Floats,
    spacing: Floats,
    shape: Ints,
    matrix: Floats,
    offset: Floats,
) -> None:
    """Write the affine map from voxels of a view to voxels of the volume, with coordinates at voxel centres.

    The view is rotated about W, then H, then D.

    Parameters
    ----------
    origin, size : (3,) int64
        Box of the view, in voxels of size `units`.
    flips : (3,) bool
    scales : (3,) float64
        Scale factors.
    cosines, sines : (3,) float64
        Cosines and sines of the angles about D, H and W.
    units, spacing : (3,) float64
        Voxel sizes of the box and of the volume in mm.
    shape : (3,) int64
        Shape of the view.
    matrix : (3, 3) float64
    offset : (3,) float64
        Output: ``volume = matrix @ view + offset``.
    """
    cd, ch, cw, sd, sh, sw = cosines[0], cosines[1], cosines[2], sines[0], sines[1], sines[2]
    turn = (
        (ch * cw, -ch * sw, sh),
        (cd * sw + sd * sh * cw, cd * cw - sd * sh * sw, -sd * ch),
        (sd * sw - cd * sh * cw, sd * cw + cd * sh * sw, cd * ch),
    )
    for row in range(3):
        middle = 0.0
        for column in range(3):
            step = size[column] / shape[column] / scales[column] * (-1.0 if flips[column] else 1.0)
            matrix[row, column] = turn[row][column] * step * (units[column] / spacing[row])
            middle += matrix[row, column] * ((shape[column] - 1) / 2)
        centre = (origin[row] + (size[row] - 1) / 2 + 0.5) * (units[row] / spacing[row]) - 0.5
        offset[row] = centre - middle


def reach(matrix: Floats, offset: Floats, shape: Triple, lengths: Triple) -> tuple[Triple, Triple]:
    """Return the box [start, stop) of the volume from which a view is interpolated.

    Parameters
    ----------
    matrix : (3, 3) float64
    offset : (3,) float64
    shape, lengths : (3,) int
        Shapes of the view and of the volume.

    Returns
    -------
    start, stop : (3,) int
        Never empty.
    """
    box = np.empty((2, 3), np.int64)
    find_reach(np.array(matrix), np.array(offset), np.array(shape), np.array(lengths), box)
    (d, h, w), (e, i, x) = box.tolist()
    return (d, h, w), (e, i, x)


@compiled
def find_reach(matrix: Floats, offset: Floats, shape: Ints, lengths: Ints, box: Ints) -> None:
    """Write the box of `reach` into an array (2, 3) int64."""
    for row in range(3):
        low = high = 0.0
        for column in range(3):
            end = matrix[row, column] * (shape[column] - 1)
            low, high = low + min(end, 0.0), high + max(end, 0.0)
        # Tolerance for rounding errors of the interpolation.
        start, stop = np.floor(offset[row] + low - 1e-6), np.floor(offset[row] + high + 1e-6)
        box[0, row] = min(max(np.int64(start), 0), lengths[row] - 1)
        box[1, row] = min(max(np.int64(stop) + 2, box[0, row] + 1), lengths[row])
