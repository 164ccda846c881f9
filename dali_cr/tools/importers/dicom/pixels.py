"""Decode the voxels of a stack of slices with pydicom, with slope and intercept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.extras import find_missing_format, load_format
from dali_cr.tools.importers.axes import LPS_TO_RAS, NO_ANATOMY, canonical, unplaced
from dali_cr.tools.importers.dicom.headers import Slice
from dali_cr.tools.importers.dicom.quiet import without_warnings
from dali_cr.tools.importers.dicom.stack import stack_slices
from dali_cr.tools.importers.item import Item
from dali_cr.volume.geometry import DTYPES, VolumeError
from dali_cr.volume.packed.contents import Affine, StoreContents


def read_volume_of_slices(top: Path, item: Item, slices: Sequence[Slice]) -> StoreContents:
    """Read the slices of one volume.

    If slices have different slopes, as in PET, values are stored as float32: `stored * slope + intercept` in float64,
    rounded once, as in decoding. Otherwise the stored integers are kept.

    Parameters
    ----------
    top : Path
    item : Item
    slices : sequence of Slice

    Raises
    ------
    VolumeError
        If the slices do not form a stack, or their pixels cannot be decoded.
    """
    placed = len(slices) > 1 or bool(slices[0].position)
    ordered, affine = stack_slices(slices) if placed else (list(slices), np.eye(4))
    with without_warnings():
        voxels, digest = _decode(top, ordered)
    scalings = [_scaling(one) for one in ordered]
    slope, intercept = scalings[0]
    if len(set(scalings)) > 1:
        voxels, slope, intercept = _rescaled(voxels, scalings), 1.0, 0.0
    if placed:
        turned, grid, orientation = canonical(item.source, voxels[None], LPS_TO_RAS @ affine)
    else:
        turned, grid, orientation = voxels[None], _unplaced(slices[0]), NO_ANATOMY
    return StoreContents(
        voxels=turned,
        affine=grid,
        original=item.original(digest),
        slope=slope,
        intercept=intercept,
        orientation=orientation,
    )


def _unplaced(one: Slice) -> Affine:
    """Return the affine of an image without a position; missing lengths are 1 mm."""
    rows, columns = one.spacing or (1.0, 1.0)
    return unplaced((one.thickness or 1.0, rows, columns))


def _scaling(one: Slice) -> tuple[float, float]:
    """Return slope and intercept; they invert the values of MONOCHROME1, where low values are white."""
    photometric, _, stored, signed = one.voxel
    if photometric == "MONOCHROME2":
        return one.slope, one.intercept
    ends = -1 if signed else 2**stored - 1  # sum of the lowest and the highest number
    return -one.slope, one.slope * ends + one.intercept


def _rescaled(voxels: npt.NDArray[Any], scalings: Sequence[tuple[float, float]]) -> npt.NDArray[np.float32]:
    """Return the values of slices with different slopes."""
    values = np.empty(voxels.shape, np.float32)
    for value, stored, (slope, intercept) in zip(values, voxels, scalings, strict=True):
        value[...] = stored.astype(np.float64) * slope + intercept
    return values


def _decode(top: Path, slices: Sequence[Slice]) -> tuple[npt.NDArray[Any], str]:
    """Return the stored numbers of slices (D, H, W), and a hash of the hashes of their files."""
    pydicom = load_format("pydicom")
    voxels: npt.NDArray[Any] | None = None
    digests: dict[str, str] = {}
    places = sorted(range(len(slices)), key=lambda place: slices[place].file)
    for file, some in groupby(places, key=lambda place: slices[place].file):
        content = _read(top / file)
        digests[file] = hashlib.sha256(content).hexdigest()
        dataset = pydicom.dcmread(io.BytesIO(content))
        for place in some:
            pixels = _pixels(top / file, dataset, slices[place])
            if voxels is None:
                voxels = np.empty((len(slices), *pixels.shape), pixels.dtype.newbyteorder("="))
            if pixels.dtype.newbyteorder("=") != voxels.dtype:
                raise VolumeError(file, f"voxels: expected {voxels.dtype} as in other slices, got {pixels.dtype}")
            voxels[place] = pixels
    assert voxels is not None  # there is at least one slice
    order = dict.fromkeys(one.file for one in slices)
    return voxels, hashlib.sha256("".join(digests[file] for file in order).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VolumeError(path, f"cannot be read: {error.strerror or error}") from error


def _pixels(path: Path, dataset: Any, one: Slice) -> npt.NDArray[Any]:
    """Return the pixels of a frame (rows, columns), without the bits above the stored ones."""
    pixels = load_format("pydicom.pixels")
    try:
        found = np.asarray(pixels.pixel_array(dataset, index=one.frame, raw=True))
    except Exception as error:  # decoders raise many kinds
        reason = f"its pixels cannot be decoded: {type(error).__name__}: {error}"
        raise VolumeError(path, "; ".join(filter(None, [reason, find_missing_format("gdcm")]))) from error
    if found.shape != one.shape or found.dtype.newbyteorder("=").name not in DTYPES:
        raise VolumeError(path, f"pixels: expected {one.shape} as in its header, got {found.shape} {found.dtype}")
    return found
