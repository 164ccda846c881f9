"""`Geometry`: the memory layout of a file's raw voxels on the canonical (RAS+) grid.

It gives the element of the data block that holds the canonical voxel (z, y, x), its dtype and byte order, and the
scaling from raw number to value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.volume.corners import farthest_corner, match_axes

Triple = tuple[int, int, int]
Number = TypeVar("Number", int, float)

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
"""Supported dtypes; the position of a dtype is its code in a decode record (same order as in kernels/voxel.cuh)."""


class VolumeError(ValueError):
    """Raised for a file that cannot be read as a volume; the message gives the file and the reason."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self) -> tuple[type[VolumeError], tuple[str, str]]:
        return VolumeError, (self.path, self.reason)


@dataclass(frozen=True)
class Geometry:
    """Layout of the canonical voxels of one file.

    Attributes
    ----------
    dtype : str
        One of `DTYPES`, without byte order.
    big_endian : bool
    data_offset : int
        Bytes before the first voxel in the decompressed data file.
    shape : (3,) int
        Canonical (D, H, W).
    base : int
        Element that holds canonical voxel (0, 0, 0).
    strides : (3,) int
        Signed steps in elements along canonical (D, H, W).
    frames : int
        Length of the fourth axis, 1 without one; frame f starts `f * voxels` elements later.
    slope, intercept : float
        value = raw * slope + intercept.
    spacing : (3,) float
        Voxel size in mm along (D, H, W), from the affine.
    affine : (4, 4) tuple of float
        Canonical voxel index (x, y, z) to world, mm, RAS+.
    orientation : str
        Axes of the file, such as "LPS"; "XYZ" for images, which have no anatomical axes.
    unit : str
        Unit of length in the file, one of `dali_cr.volume.nifti.UNITS`; spacing and affine are converted to mm.
    """

    dtype: str
    big_endian: bool
    data_offset: int
    shape: Triple
    base: int
    strides: Triple
    frames: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    orientation: str
    unit: str = "mm"

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The dtype with the byte order of the file."""
        return np.dtype(self.dtype).newbyteorder(">" if self.big_endian else "<")

    @property
    def itemsize(self) -> int:
        """Bytes of a voxel."""
        return self.numpy_dtype.itemsize

    @property
    def voxels(self) -> int:
        """Voxels in one frame."""
        return math.prod(self.shape)

    @property
    def data_bytes(self) -> int:
        """Bytes of all frames."""
        return self.frames * self.voxels * self.numpy_dtype.itemsize

    def same_grid(self, other: Geometry) -> bool:
        """Whether another file's voxels lie at the same positions, in any order of the axes; see `corners`."""
        return self.aligned(other) is not None

    def aligned(self, grid: Geometry) -> Geometry | None:
        """Return the same voxels with the axes reordered and flipped to those of another file on the same grid.

        The canonical axes are chosen for each file separately. Near 45 degrees the choice depends on rounding, so two
        files on the same grid may differ.

        Parameters
        ----------
        grid : Geometry
            Geometry of the other file.

        Returns
        -------
        aligned : Geometry or None
            None if the voxels lie at other positions.
        """
        found = match_axes(self.shape, self.affine, grid.shape, grid.affine)
        return None if found is None else self.turned(found[0]).flipped(found[1])

    def distance(self, grid: Geometry) -> float:
        """Return the largest distance in mm between corners of this grid and another one of the same shape."""
        return farthest_corner(self.shape, self.affine, grid.affine)

    def turned(self, order: Triple) -> Geometry:
        """Return the same voxels with (D, H, W) in another order.

        Parameters
        ----------
        order : (3,) int
            The current axis 0, 1 or 2 that becomes each new axis.
        """
        columns = [2 - axis for axis in reversed(order)]  # the affine has x, y, z
        return replace(
            self,
            shape=_in_order(self.shape, order),
            strides=_in_order(self.strides, order),
            spacing=_in_order(self.spacing, order),
            affine=tuple(tuple(row[column] for column in columns) + row[3:] for row in self.affine),
        )

    def flipped(self, flips: tuple[bool, bool, bool]) -> Geometry:
        """Return the same voxels with some of D, H and W reversed."""
        if not any(flips):
            return self
        lasts = [(n - 1) * flip for n, flip in zip(self.shape, flips, strict=True)]
        base = self.base + sum(step * last for step, last in zip(self.strides, lasts, strict=True))
        d, h, w = (-step if flip else step for step, flip in zip(self.strides, flips, strict=True))
        signs = [-1.0 if flip else 1.0 for flip in reversed(flips)]  # columns x, y, z of the affine
        affine = []
        for row in self.affine:
            origin = row[3] + sum(row[2 - axis] * last for axis, last in enumerate(lasts))
            affine.append((*(sign * value for sign, value in zip(signs, row, strict=False)), origin))
        return replace(self, base=base, strides=(d, h, w), affine=tuple(affine))

    def in_file_order(self) -> Geometry:
        """Return the geometry of a single frame in memory, stored along the axes of the file."""
        base, strides = strides_along(self.orientation, self.shape)
        return replace(self, data_offset=0, base=base, strides=strides, frames=1)

    def end(self, frame: int, start: Triple, stop: Triple) -> int:
        """Return the number of bytes at the start of the data file that contain the box [start, stop) of a frame."""
        last = self.base + sum(s * (b - 1 if s > 0 else a) for s, a, b in zip(self.strides, start, stop, strict=True))
        return self.data_offset + (frame * self.voxels + last + 1) * self.numpy_dtype.itemsize

    def view(self, data: npt.NDArray[np.uint8], frame: int, start: Triple, stop: Triple) -> npt.NDArray[np.generic]:
        """Return the raw voxels of the canonical box [start, stop) of a frame; no copy.

        Parameters
        ----------
        data : (bytes,) uint8
            Decompressed content of the data file, at least up to `end(frame, start, stop)`.
        frame : int
        start, stop : (3,) int
            Canonical (D, H, W).

        Returns
        -------
        raw : (stop - start) of the file's dtype and byte order
        """
        dtype = self.numpy_dtype
        first = frame * self.voxels + self.base + sum(s * a for s, a in zip(self.strides, start, strict=True))
        shape = tuple(b - a for a, b in zip(start, stop, strict=True))
        strides = tuple(s * dtype.itemsize for s in self.strides)
        return np.ndarray(shape, dtype, data.data, self.data_offset + first * dtype.itemsize, strides)


def strides_along(orientation: str, shape: Triple) -> tuple[int, Triple]:
    """Return base and strides of the canonical voxels in a frame that is stored along given axes.

    Parameters
    ----------
    orientation : str
        Axes of the file, fastest first, such as "LPS" or "XYZ".
    shape : (3,) int
        Canonical (D, H, W).

    Returns
    -------
    base : int
        Element that holds canonical voxel (0, 0, 0).
    strides : (3,) int
        Signed steps in elements along canonical (D, H, W).

    Examples
    --------
    >>> strides_along("RAS", (4, 3, 2)), strides_along("SRP", (4, 3, 2))
    ((0, (6, 2, 1)), (16, (1, -8, 4)))
    """
    base, step, strides = 0, 1, [0, 0, 0]
    for letter in orientation:
        axis = next(axis for axis, letters in enumerate(("SIZ", "APY", "RLX")) if letter in letters)
        backwards = letter in "LPI"
        strides[axis] = -step if backwards else step
        base += step * (shape[axis] - 1) * backwards
        step *= shape[axis]
    return base, (strides[0], strides[1], strides[2])


def voxel_sizes(affine: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the voxel size in mm along (D, H, W) of an affine from (x, y, z), rounded to six decimals or digits.

    Parameters
    ----------
    affine : (4, 4) float

    Examples
    --------
    >>> voxel_sizes(np.diag([0.5, 1.0, 2.0, 1.0]))
    (2.0, 1.0, 0.5)
    """
    with np.errstate(over="ignore"):  # damaged files
        norms = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]
    d, h, w = (round(n, 6) if n >= 0.1 else float(f"{n:.6g}") for n in norms.tolist())
    return d, h, w


def _in_order(triple: tuple[Number, Number, Number], order: Triple) -> tuple[Number, Number, Number]:
    """Return the entries of a triple in another order."""
    return triple[order[0]], triple[order[1]], triple[order[2]]
