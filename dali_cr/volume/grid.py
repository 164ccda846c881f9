"""Resampling grids: the shape of a volume at another spacing, and the map from its voxels to the original ones.

The outer edges of both grids coincide, as in nnU-Net: along an axis with `length` original and `new_length` resampled
voxels, resampled voxel i lies at ``(i + 0.5) * length / new_length - 0.5``. This is exact if the lengths are equal.
Otherwise the actual spacing differs slightly from the requested one, because the number of voxels is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Triple

Spacing = tuple[float, float, float]
"""Voxel size in mm along (D, H, W)."""


def is_spacing(value: object) -> bool:
    """Whether a value is a tuple of three positive, finite numbers."""
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(
            isinstance(mm, (int, float)) and not isinstance(mm, bool) and mm > 0 and math.isfinite(mm) for mm in value
        )
    )


def resampled_shape(shape: Triple, spacing: Spacing, target: Spacing | None) -> Triple:
    """Return the shape of a volume at another spacing: rounded, at least one voxel per axis.

    Parameters
    ----------
    shape : (3,) int
        Shape of the volume.
    spacing : (3,) float
        Spacing of the volume in mm.
    target : (3,) float, optional
        Spacing in mm to resample to. Default: no resampling.

    Raises
    ------
    ValueError
        If an axis would have 2**31 - 1 voxels or more: the spacing in the file is probably wrong.

    Examples
    --------
    >>> resampled_shape((20, 256, 256), (5.0, 0.8, 0.8), (1.0, 1.0, 1.0))
    (100, 205, 205)
    """
    if target is None:
        return shape
    lengths = [n * own / mm for n, own, mm in zip(shape, spacing, target, strict=True)]
    if not max(lengths) < 2**31 - 1:
        raise ValueError(
            f"spacing: expected fewer than 2**31 voxels per axis, got {target} mm for a volume of {shape} "
            f"voxels of {spacing} mm; correct its header, or exclude it (exclude=...)"
        )
    d, h, w = (max(1, round(length)) for length in lengths)
    return d, h, w


def crop_map(
    origin: Triple, flips: Sequence[bool], crop: Triple, shape: Triple, new_shape: Triple
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the affine map from voxels of a flipped crop of the resampled grid to voxels of the volume.

    Parameters
    ----------
    origin : (3,) int
        Origin of the crop in the resampled grid.
    flips : (3,) bool
        Which of the crop's axes are flipped after cropping.
    crop : (3,) int
    shape, new_shape : (3,) int
        Shapes of the volume and of the resampled grid.

    Returns
    -------
    matrix : (3, 3) float64
        Diagonal.
    offset : (3,) float64
        ``matrix @ voxel + offset`` is the position of a voxel of the crop in the volume.

    Examples
    --------
    >>> matrix, offset = crop_map((0, 0, 2), (False, False, True), (1, 1, 4), (1, 1, 5), (1, 1, 10))
    >>> float(matrix[2, 2]), float(offset[2])
    (-0.5, 2.25)
    """
    flipped = np.array(flips)
    steps = np.array(shape) / np.array(new_shape)
    first = np.where(flipped, np.array(origin) + np.array(crop) - 1, np.array(origin))
    return np.diag(np.where(flipped, -steps, steps)), (first + 0.5) * steps - 0.5


def nearest_voxels(length: int, new_length: int) -> npt.NDArray[np.int64]:
    """Return the nearest original voxel for each resampled voxel along an axis; halves are rounded up.

    Examples
    --------
    >>> nearest_voxels(3, 6).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    voxels = np.floor((np.arange(new_length) + 0.5) * (length / new_length)).astype(np.int64)
    return np.asarray(np.minimum(voxels, length - 1))
