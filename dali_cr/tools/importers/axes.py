"""Reorder voxels from the axes of a file to the canonical (RAS+) grid, without a copy."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.contents import Affine

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""World coordinates of DICOM and ITK (LPS) to those of NIfTI (RAS)."""

NO_ANATOMY = "XYZ"
"""Orientation of voxels with unknown anatomical axes."""


def canonical(
    path: object, voxels: npt.NDArray[Any], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], Affine, str]:
    """Reorder voxels to the canonical grid.

    Parameters
    ----------
    path : path or str
        File name, for messages.
    voxels : (C, K, J, I) array
        Voxels along the axes of the file, the fastest last.
    affine : (4, 4) float64
        Voxel index (i, j, k) of the file to world, mm, RAS+.

    Returns
    -------
    voxels : (C, D, H, W) array
        A view.
    affine : (4, 4) tuple of float
        Canonical voxel index (x, y, z) to world, mm, RAS+.
    orientation : str
        Axes of the file, such as "LPS".

    Raises
    ------
    VolumeError
        If the affine is singular or not finite.

    Examples
    --------
    >>> voxels = np.arange(6).reshape(1, 1, 2, 3)
    >>> turned, affine, orientation = canonical("scan", voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
    >>> turned[0, 0].tolist(), affine[0], orientation
    ([[5, 4, 3], [2, 1, 0]], (1.0, 0.0, 0.0, -2.0), 'LPS')
    """
    if not np.isfinite(affine).all() or not np.linalg.det(affine):
        raise VolumeError(path, "affine: expected an invertible matrix from directions and spacing, got a singular one")
    orientation = nib.orientations.io_orientation(affine)
    world = [int(axis) for axis in orientation[:, 0]]
    sizes = voxels.shape[:0:-1]
    matrix = affine @ nib.orientations.inv_ornt_aff(orientation, sizes) + 0.0  # no -0.0
    turned = voxels.transpose(0, *(3 - world.index(axis) for axis in (2, 1, 0)))
    steps = [int(orientation[world.index(axis), 1]) for axis in (2, 1, 0)]
    turned = turned[(slice(None), *(slice(None, None, step) for step in steps))]
    codes = "".join(nib.orientations.ornt2axcodes(orientation))
    return turned, tuple(tuple(map(float, row)) for row in matrix), codes


def unplaced(spacing: tuple[float, float, float]) -> Affine:
    """Return the affine of voxels with a known size and an unknown position.

    Parameters
    ----------
    spacing : (3,) float
        Voxel size in mm along (D, H, W).

    Examples
    --------
    >>> unplaced((3.0, 1.0, 0.5))[2]
    (0.0, 0.0, 3.0, 0.0)
    """
    d, h, w = map(float, spacing)
    return (w, 0.0, 0.0, 0.0), (0.0, h, 0.0, 0.0), (0.0, 0.0, d, 0.0), (0.0, 0.0, 0.0, 1.0)
