"""Contents of a brick store: raw voxels on the canonical grid, their geometry, and the original file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import DTYPES, Geometry, voxel_sizes
from dali_cr.volume.nifti import UNITS

Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Original:
    """The file, or pair of files, that a store was made from.

    Attributes
    ----------
    path : str
        Relative to the packed folder, with forward slashes; used for names of cases.
    sha256 : str
        Hash of the file's bytes, 64 hexadecimal digits; for a pair as in `dali_cr.index.volumes.Volume.sha256`.
    size : int
        In bytes.
    mtime_ns : int
        Modification time.

    Raises
    ------
    ValueError
        If the path or the hash is invalid.
    """

    path: str
    sha256: str
    size: int
    mtime_ns: int

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or "\0" in self.path:
            raise ValueError(f"path: expected the relative path of a file, got {self.path!r}")
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, got {self.sha256!r}")

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Description:
    """Geometry, scaling and origin of the voxels in a store.

    Attributes
    ----------
    affine : (4, 4) tuple of float
        Canonical voxel index (x, y, z) to world, mm, RAS+.
    original : Original
    slope, intercept : float
        value = raw * slope + intercept.
    orientation : str
        Axes of the original file, such as "LPS": `unpack` writes voxels along them. "XYZ" without anatomical axes.
    unit : str
        Unit of length in the original, one of `dali_cr.volume.nifti.UNITS`.
    header : bytes
        NIfTI header of the original (348 or 540 bytes, in its byte order); b"" if it has none.
    extensions : int
        Number of header extensions of the original, which are dropped.

    Raises
    ------
    ValueError
        If affine, scaling, orientation, unit or header is invalid.
    """

    affine: Affine
    original: Original
    slope: float = 1.0
    intercept: float = 0.0
    orientation: str = "RAS"
    unit: str = "mm"
    header: bytes = b""
    extensions: int = 0

    def __post_init__(self) -> None:
        matrix = np.array(self.affine, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"affine: expected a (4, 4) matrix of finite numbers, got {self.affine}")
        if not all(0 < length < math.inf for length in voxel_sizes(matrix)):
            raise ValueError(f"affine: expected voxel sizes above 0, got {self.affine}")
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope):
            raise ValueError(f"scaling: expected finite numbers, the slope not 0, got {self.slope, self.intercept}")
        if sorted(self.orientation.translate(_WORLD)) != ["x", "y", "z"]:
            raise ValueError(f"orientation: expected three letters such as 'LPS', or 'XYZ', got {self.orientation!r}")
        if self.unit not in UNITS:
            raise ValueError(f"unit: expected one of {', '.join(UNITS)}, got {self.unit!r}")
        if len(self.header) not in (0, 348, 540):
            raise ValueError(f"header: expected 348 or 540 bytes, or none, got {len(self.header)}")

    def geometry(self, dtype: str, shape: tuple[int, int, int, int]) -> Geometry:
        """Return the geometry of voxels (C, D, H, W) that are stored in C order, little-endian."""
        channels, d, h, w = shape
        return Geometry(
            dtype=dtype,
            big_endian=False,
            data_offset=0,
            shape=(d, h, w),
            base=0,
            strides=(h * w, w, 1),
            frames=channels,
            slope=self.slope,
            intercept=self.intercept,
            spacing=voxel_sizes(self.affine),
            affine=self.affine,
            orientation=self.orientation,
            unit=self.unit,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreContents(Description):
    """The voxels and the description that `write_store` writes.

    Attributes
    ----------
    voxels : (C, D, H, W) of one of `DTYPES`
        Raw numbers on the canonical (RAS+) grid, in any byte order and with any strides.

    Raises
    ------
    ValueError
        If shape, dtype or a field of `Description` is invalid.
    """

    voxels: npt.NDArray[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.voxels.ndim != 4 or not self.voxels.size:
            raise ValueError(f"voxels: expected (C, D, H, W) with at least one voxel, got {self.voxels.shape}")
        if self.dtype not in DTYPES:
            raise ValueError(f"voxels: expected one of the dtypes {', '.join(DTYPES)}, got {self.voxels.dtype}")

    @property
    def dtype(self) -> str:
        """The dtype's name, without byte order."""
        return str(self.voxels.dtype.newbyteorder("=").name)


_WORLD = str.maketrans("RLAPSIXYZ", "xxyyzzxyz")
