"""Encoding of label maps and probabilities as NIfTI files with the header of their image.

All geometric fields are copied (codes, units, quaternion), so that other programs interpret the grid of the mask as
that of the image. As in a scan, the header is recognised by content, not by file name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import canonical_view
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.packed.originals import read_grid

_UINT8, _FLOAT32 = 2, 16
_SINGLE = {348: b"n+1", 540: b"n+2\0\r\n\x1a\n"}
"""Magic string of single files, by header size."""

_OF_VALUES = ("cal_min", "cal_max", "intent_code", "intent_p1", "intent_p2", "intent_p3", "intent_name")
"""Fields about the meaning of the image's values, which are cleared for labels."""


def encode_mask(labels: npt.NDArray[np.uint8], image: Path, geometry: Geometry) -> bytes:
    """Return the content of a .nii file with labels on the grid of an image.

    Parameters
    ----------
    labels : (D, H, W) uint8
        Along the axes of `geometry`.
    image : Path
        The NIfTI file, the .hdr file of a pair, or the brick store that defines the grid.
    geometry : Geometry
        Of the image.

    Raises
    ------
    dali_cr.VolumeError
        If the image's header cannot be read, or changed since the scan.
    ValueError
        If the shapes of labels and image differ.
    """
    return _encode(labels[None], _UINT8, image, geometry)


def encode_probabilities(shares: npt.NDArray[np.float32], image: Path, geometry: Geometry) -> bytes:
    """Return the content of a .nii file with probabilities on the grid of an image; the fourth axis is the classes.

    Parameters
    ----------
    shares : (K, D, H, W) float32
        Along the axes of `geometry`.
    image : Path
        As for `encode_mask`.
    geometry : Geometry
        Of the image.

    Raises
    ------
    dali_cr.VolumeError, ValueError
        As for `encode_mask`.
    """
    return _encode(shares, _FLOAT32, image, geometry)


def _encode(values: npt.NDArray[Any], code: int, image: Path, geometry: Geometry) -> bytes:
    if values.shape[1:] != geometry.shape:
        raise ValueError(f"labels: expected shape {geometry.shape}, as {image} has, got {values.shape[1:]}")
    header, now = read_grid(image)
    if (now.shape, now.orientation, now.affine) != (geometry.shape, geometry.orientation, geometry.affine):
        raise VolumeError(image, "changed since the scan, its voxels have another order; scan again")
    rank, frames = min(int(header["dim"][0]), 3), len(values)
    edges = [*header["dim"][1 : rank + 1], *[1] * (3 - rank), frames]
    header["dim"] = [4 if frames > 1 else rank, *edges, 1, 1, 1]
    header["pixdim"][4] = 1 if frames > 1 else header["pixdim"][4]
    header["datatype"], header["bitpix"] = code, 8 * values.dtype.itemsize
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name in _OF_VALUES:
        header[name] = b"" if name == "intent_name" else 0
    header["magic"], header["vox_offset"] = _SINGLE[int(header.sizeof_hdr)], header.single_vox_offset
    raw = np.zeros((frames, geometry.voxels), values.dtype.newbyteorder(header.endianness))
    for frame, own in zip(raw, values, strict=True):
        canonical_view(frame, now)[...] = own
    flag = bytes(header.single_vox_offset - int(header.sizeof_hdr))  # no extensions follow
    return bytes(header.binaryblock + flag + raw.tobytes())
