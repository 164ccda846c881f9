"""Another grid over the space of a volume: how many voxels of another spacing it has, and where they lie in its own.

The outer edges of both grids coincide, as nnU-Net has it. Voxel i of `there` voxels along an axis lies at
``(i + 0.5) * own / there - 0.5`` of the volume's own. That is exact where the numbers of voxels are the same; elsewhere
the spacing that comes of it differs from the one asked for by what rounding to whole voxels takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Triple

Spacing = tuple[float, float, float]
"""Of voxels, in mm along (D, H, W)."""


def is_spacing(value: object) -> bool:
    """Whether a value is three positive numbers of mm."""
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(mm, (int, float)) and mm > 0 and math.isfinite(mm) for mm in value)
    )


def resampled_shape(shape: Triple, spacing: Spacing, wanted: Spacing | None) -> Triple:
    """Return how many voxels of another spacing a volume has: rounded, and at least one an axis.

    Parameters
    ----------
    shape : (3,) int
        Of the volume.
    spacing : (3,) float
        Its own, in mm.
    wanted : (3,) float, optional
        In mm; without it the volume stays as it is.

    Raises
    ------
    ValueError
        If these are more than an int32 counts: the volume's own spacing can hardly be true.

    Examples
    --------
    >>> resampled_shape((20, 256, 256), (5.0, 0.8, 0.8), (1.0, 1.0, 1.0))
    (100, 205, 205)
    """
    if wanted is None:
        return shape
    lengths = [n * own / mm for n, own, mm in zip(shape, spacing, wanted, strict=True)]
    if not max(lengths) < 2**31 - 1:
        raise ValueError(
            f"spacing: expected one of which a volume has less than 2**31 voxels an axis, got {wanted} for {shape} "
            f"voxels of {spacing} mm; correct its header, or exclude it (exclude=...)"
        )
    d, h, w = (max(1, round(length)) for length in lengths)
    return d, h, w


def crop_map(
    origin: Triple, flips: Sequence[bool], crop: Triple, own: Triple, there: Triple
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the affine map from the voxels of a flipped crop to the volume's own.

    Parameters
    ----------
    origin : (3,) int
        Of the crop, in the other grid.
    flips : (3,) bool
        Which of the crop's axes are flipped after cropping.
    crop : (3,) int
    own, there : (3,) int
        Shapes of the volume and of the other grid.

    Returns
    -------
    matrix : (3, 3) float64
        Diagonal.
    offset : (3,) float64
        ``matrix @ place + offset`` is where the crop's voxel `place` lies.

    Examples
    --------
    >>> matrix, offset = crop_map((0, 0, 2), (False, False, True), (1, 1, 4), (1, 1, 5), (1, 1, 10))
    >>> float(matrix[2, 2]), float(offset[2])
    (-0.5, 2.25)
    """
    flipped = np.array(flips)
    steps = np.array(own) / np.array(there)
    first = np.where(flipped, np.array(origin) + np.array(crop) - 1, np.array(origin))
    return np.diag(np.where(flipped, -steps, steps)), (first + 0.5) * steps - 0.5


def nearest_voxels(own: int, there: int) -> npt.NDArray[np.int64]:
    """Return for each of `there` voxels along an axis the nearest of the volume's `own`; a half goes up.

    Examples
    --------
    >>> nearest_voxels(3, 6).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    places = np.floor((np.arange(there) + 0.5) * (own / there)).astype(np.int64)
    return np.asarray(np.minimum(places, own - 1))
