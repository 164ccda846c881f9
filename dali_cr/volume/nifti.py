"""Parse NIfTI headers to a `Geometry`.

nibabel parses the header and computes the affine. The values are validated here, so that a malformed header raises an
error before any memory is allocated.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from dali_cr.volume.geometry import DTYPES, Geometry, Triple, VolumeError, strides_along, voxel_sizes

_REFUSED = {1: "1-bit", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256",
            2304: "RGBA"}  # fmt: skip
_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
_HEADER_SIZES: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_QUIET, _NEVER = logging.Logger("nibabel's remarks on headers", logging.CRITICAL + 1), 1000
_MM = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}
"""Unit codes of the header: the name of the unit and its length in mm."""

UNITS = tuple(name for name, _ in _MM.values())
"""Names of units; an unknown unit is taken as mm, as in other programs."""

HEADER_BYTES = 544
"""Bytes that contain any header and its extension flag."""


def is_volume(path: str | Path) -> bool:
    """Whether a file name has the suffix of a NIfTI volume (an .img file is found through its .hdr)."""
    return str(path).lower().endswith(_SUFFIXES)


def data_path(path: Path, magic: bytes) -> Path:
    """Return the file with the voxels: the file itself, or the .img next to a .hdr."""
    if magic.rstrip(b"\0\r\n\x1a") in (b"n+1", b"n+2"):
        return path
    stem, suffixes = str(path), (".hdr", ".hdr.gz")
    for suffix in suffixes:
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    else:
        raise VolumeError(path, "its header says the voxels are in an .img file, but it is not a .hdr file")
    for candidate in (stem + ".img", stem + ".img.gz", stem + ".IMG"):
        if os.path.isfile(candidate):  # also false if the name is too long for the file system
            return Path(candidate)
    raise VolumeError(path, f"header without voxels: {Path(stem).name}.img is missing")


def parse_header(path: Path, head: bytes) -> tuple[Geometry, Path]:
    """Parse the header of a NIfTI file.

    Parameters
    ----------
    path : Path
        File name, for messages and to find the .img of a pair.
    head : bytes
        The first `HEADER_BYTES` bytes, decompressed; fewer if the file is shorter.

    Returns
    -------
    geometry : Geometry
    data : Path
        The file with the voxels.

    Raises
    ------
    VolumeError
        If it is not a NIfTI header, or not a supported one.
    """
    header = nifti_header(path, head)
    data = data_path(path, bytes(header["magic"].tobytes()))
    dtype = _dtype(path, header)
    sizes, frames = _sizes(path, header)
    offset = int(header["vox_offset"]) if np.isfinite(header["vox_offset"]) else -1
    least = int(header.sizeof_hdr) if data == path else 0
    # In a single file, 0 means "directly after the header and its extension flag".
    offset = header.single_vox_offset if offset == 0 and data == path else offset
    if not least <= offset < 2**40:
        raise VolumeError(path, f"vox_offset: expected at least {least}, got {header['vox_offset']}")
    unit, millimetres = _MM.get(int(header["xyzt_units"]) & 7, _MM[0])
    affine = _affine(path, header)
    if millimetres != 1:
        affine[:3] *= millimetres
    order, signs = _orientation(path, affine)
    axes = [int(np.flatnonzero(order == world)[0]) for world in (2, 1, 0)]  # file axis along D, H, W
    shape = (sizes[axes[0]], sizes[axes[1]], sizes[axes[2]])
    orientation = "".join(nib.orientations.ornt2axcodes(np.stack([order, signs], axis=1)))
    base, strides = strides_along(orientation, shape)
    slope, intercept = _scaling(path, header)
    canonical = _canonical_affine(affine, order, signs, sizes)
    geometry = Geometry(
        dtype=dtype,
        big_endian=header.endianness == ">",
        data_offset=offset,
        shape=shape,
        base=base,
        strides=strides,
        frames=frames,
        slope=slope,
        intercept=intercept,
        spacing=voxel_sizes(canonical),
        affine=tuple(tuple(float(v) for v in row) for row in canonical),
        orientation=orientation,
        unit=unit,
    )
    return geometry, data


def nifti_header(path: Path, head: bytes) -> nib.Nifti1Header:
    """Parse bytes as a NIfTI-1 or NIfTI-2 header in either byte order, without changing any field.

    Parameters
    ----------
    path : Path
        File name, for messages.
    head : bytes
        As for `parse_header`.

    Raises
    ------
    VolumeError
        If the bytes are not a NIfTI header.
    """
    if len(head) < 348:
        raise VolumeError(path, f"too short for a NIfTI header: expected 348 bytes, got {len(head)}")
    for order in ("<", ">"):
        size = int(np.frombuffer(head, order + "i4", 1)[0])
        if size in _HEADER_SIZES:
            break
    else:
        raise VolumeError(path, "not a NIfTI file: its first four bytes are neither 348 nor 540")
    kind = _HEADER_SIZES[size]
    if len(head) < size:
        raise VolumeError(path, f"too short for a NIfTI-2 header: expected 540 bytes, got {len(head)}")
    header: nib.Nifti1Header = kind(head[:size], endianness=order, check=False)
    magic = bytes(header["magic"].tobytes())
    if magic.rstrip(b"\0\r\n\x1a") not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        what = (
            "an Analyze 7.5 header: its orientation is unknown; convert it to NIfTI" if not magic.strip(b"\0") else ""
        )
        raise VolumeError(path, what or f"not a NIfTI file: its magic is {magic!r}")
    return header


def _dtype(path: Path, header: nib.Nifti1Header) -> str:
    """Return the name of the dtype; raise VolumeError unless it is one of `DTYPES`."""
    code = int(header["datatype"])
    if code in _REFUSED:
        raise VolumeError(path, f"dtype: expected integers, float32 or float64, got {_REFUSED[code]}")
    try:
        name = str(np.dtype(header.get_data_dtype()).newbyteorder("=").name)
    except (nib.spatialimages.HeaderDataError, KeyError, TypeError) as error:
        raise VolumeError(path, f"dtype: expected a known code, got {code}") from error
    if name not in DTYPES:
        raise VolumeError(path, f"dtype: expected integers, float32 or float64, got {name} (code {code})")
    return name


def _sizes(path: Path, header: nib.Nifti1Header) -> tuple[Triple, int]:
    """Return the sizes (nx, ny, nz) and the number of frames."""
    dim = [int(d) for d in header["dim"]]
    rank = dim[0]
    if not 1 <= rank <= 7:
        raise VolumeError(path, f"expected 1 to 7 axes, got {rank}")
    shape = dim[1 : rank + 1]
    if min(shape) < 1:
        raise VolumeError(path, f"shape: expected axes of at least 1, got {tuple(shape)}")
    beyond = [d for d in shape[3:] if d != 1]
    if len(beyond) > 1:
        raise VolumeError(path, f"shape: expected at most four axes longer than 1, got {tuple(shape)}")
    sizes = [*shape[:3], 1, 1][:3]
    frames = beyond[0] if beyond else 1
    if math.prod(sizes) * frames > 2**46:
        raise VolumeError(path, f"shape: expected at most 2**46 voxels, got {tuple(shape)}")
    return (sizes[0], sizes[1], sizes[2]), frames


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; (1, 0) if the header has no scaling."""
    try:
        slope, intercept = header.get_slope_inter()
    except nib.spatialimages.HeaderDataError as error:
        raise VolumeError(path, f"scaling: {error}") from error
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept) + 0.0)


def _affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """Return the affine that nibabel uses: sform, else qform, else the zooms; unknown codes are ignored."""
    fixed = header.copy()
    try:
        with np.errstate(all="ignore"):
            fixed.check_fix(logger=_QUIET, error_level=_NEVER)
            affine = np.asarray(fixed.get_best_affine(), np.float64)
    except (nib.spatialimages.HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise VolumeError(path, f"affine: {error}") from error
    if not np.isfinite(affine).all():
        raise VolumeError(path, "affine: expected finite values")
    return affine


def _orientation(path: Path, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the world axis and the sign of each file axis."""
    try:
        with np.errstate(all="ignore"):
            orientation = nib.orientations.io_orientation(affine)
    except np.linalg.LinAlgError as error:
        raise VolumeError(path, f"affine: {error}") from error
    if not np.isfinite(orientation).all():
        raise VolumeError(path, "affine: it is singular, so the file's orientation is unknown")
    return orientation[:, 0].astype(int), orientation[:, 1].astype(int)


def _canonical_affine(affine: np.ndarray, order: np.ndarray, signs: np.ndarray, sizes: Triple) -> np.ndarray:
    """Return the affine of the canonical (x, y, z) grid."""
    orientation = np.stack([order, signs], axis=1)
    return np.asarray(affine @ nib.orientations.inv_ornt_aff(orientation, sizes))
