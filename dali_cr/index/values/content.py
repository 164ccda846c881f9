"""Hash the values of a volume, independently of the file format."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import canonical_view
from dali_cr.volume.geometry import Geometry

_TINY = np.finfo(np.float32).tiny

_VOXELS_AT_ONCE = 1 << 18
"""Voxels that are converted and hashed together; their float64 values fit into the processor's cache."""


def content_hash(raw: npt.NDArray[np.generic], geometry: Geometry) -> str:
    """Hash the values of one frame on the canonical grid.

    The same image has the same hash as .nii and .nii.gz, as int16 and float32, in either byte order and in any
    orientation that its affine describes. Voxel size and position are not hashed.

    Parameters
    ----------
    raw : (voxels,) of the file's dtype and byte order, contiguous
    geometry : Geometry

    Returns
    -------
    digest : str
        SHA-256 of the shape (D, H, W) as three little-endian int64, and of the values that `read_volume` returns:
        little-endian float32 in the order (z, y, x), with -0 as 0 and every NaN as NumPy's.
    """
    digest = hashlib.sha256(np.array(geometry.shape, "<i8").tobytes())
    canonical = canonical_view(raw, geometry)
    _, height, width = geometry.shape
    planes = max(1, _VOXELS_AT_ONCE // (height * width))
    for first in range(0, len(canonical), planes):
        digest.update(_canonical_values(canonical[first : first + planes], geometry).data)
    return digest.hexdigest()


def _canonical_values(raw: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[np.float32]:
    """Return values as contiguous float32, with one bit pattern for each value (-0 as 0, a single NaN)."""
    kind, size = raw.dtype.kind, raw.dtype.itemsize
    with np.errstate(over="ignore", invalid="ignore"):
        if geometry.slope == 1 and geometry.intercept == 0 and (kind == "f" or size <= 4):
            out = raw.astype("<f4", order="C")
            if kind != "f":
                return out
        else:
            values = raw.astype(np.float64, order="C")
            if kind == "f" and size == 4:
                values[np.abs(values) < _TINY] = 0.0
            values *= geometry.slope
            values += geometry.intercept
            out = values.astype("<f4")
    out[np.abs(out) < _TINY] = 0.0  # subnormals, and -0
    if kind == "f":
        out[np.isnan(out)] = np.nan
    return out
