"""NIfTI files as what a store holds, and back: voxels, geometry and intensity fields stay, texts and extensions go."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from dali_cr.volume import reader
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.nifti import nifti_header, parse_header
from dali_cr.volume.packed.contents import Description, Original, StoreContents
from dali_cr.volume.packed.layout import is_store
from dali_cr.volume.packed.store import Store

TEXTS = ("data_type", "db_name", "descrip", "aux_file", "intent_name", "unused_str")
"""Fields of headers that hold free text, which may name a patient; NIfTI-2 has but some of them."""

_SINGLE = {348: b"n+1", 540: b"n+2\0\r\n\x1a\n"}
"""Magic of a file that holds header and voxels, by the size of the header."""


def read_original(path: Path, relative: str, *, keep_text: bool = False) -> StoreContents:
    """Read a NIfTI file to its end.

    Parameters
    ----------
    path : Path
    relative : str
        Its path as the store keeps it.
    keep_text : bool
        Whether the `TEXTS` of the header are kept.

    Returns
    -------
    contents : StoreContents
        Valid until this thread reads another file.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, or changes meanwhile.
    """
    geometry, data = reader.read_header(path)
    before = [read_status(file) for file in dict.fromkeys((path, data))]
    content, digest = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    if data != path:
        digest = hashlib.sha256(digest.encode() + reader.read_head(path)).hexdigest()
    head = reader.read_nifti_head(path)
    header = nifti_header(path, head)
    after = [read_status(file) for file in dict.fromkeys((path, data))]
    if [(s.st_size, s.st_mtime_ns) for s in before] != [(s.st_size, s.st_mtime_ns) for s in after]:
        raise VolumeError(path, "changed while it was read")
    in_front = bytes(content[: geometry.data_offset]) if data == path else _decompressed(path)
    size, changed = sum(status.st_size for status in after), max(status.st_mtime_ns for status in after)
    return StoreContents(
        voxels=_channels(content, geometry),
        affine=geometry.affine,
        original=Original(relative, digest, size, changed),
        slope=geometry.slope,
        intercept=geometry.intercept,
        orientation=geometry.orientation,
        unit=geometry.unit,
        header=_without_texts(header, keep_text),
        extensions=_count_extensions(in_front, header),
    )


def _channels(content: npt.NDArray[np.uint8], geometry: Geometry) -> npt.NDArray[Any]:
    """Return the canonical voxels (C, D, H, W) of a file's content; no copy."""
    step = geometry.itemsize
    strides = (geometry.voxels * step, *(s * step for s in geometry.strides))
    place = geometry.data_offset + geometry.base * step
    return np.ndarray((geometry.frames, *geometry.shape), geometry.numpy_dtype, content.data, place, strides)


def _without_texts(header: nib.Nifti1Header, keep_text: bool) -> bytes:
    if not keep_text:
        for name in set(TEXTS) & set(header.keys()):
            header[name] = b""
    return bytes(header.binaryblock)


def _decompressed(path: Path) -> bytes:
    """Return all of a pair's header file: extensions are in it, but no voxels."""
    content = path.read_bytes()
    return gzip.decompress(content) if reader.is_gzip(content) else content


def _count_extensions(in_front: bytes, header: nib.Nifti1Header) -> int:
    """Return how many extensions follow a header."""
    at = int(header.sizeof_hdr) + 4
    count = 0
    if in_front[at - 4 : at - 3] in (b"", b"\0"):
        return 0
    while at + 8 <= len(in_front):
        size = int(np.frombuffer(in_front, f"{header.endianness}i4", 1, at)[0])
        if size < 8:
            break
        count += 1
        at += size
    return count


def read_grid(path: Path) -> tuple[nib.Nifti1Header, Geometry]:
    """Read the header of a NIfTI file, or the one that a brick store has for its original, and what it says.

    Parameters
    ----------
    path : Path
        The file, the .hdr of a pair, or the store.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    if not is_store(path):
        head = reader.read_nifti_head(path)
        return nifti_header(path, head), parse_header(path, head)[0]
    layout = Store(path).layout
    stored = layout.geometry
    return original_header(path, layout.description, stored.dtype, (stored.frames, *stored.shape))


def original_header(
    path: Path, description: Description, dtype: str, shape: tuple[int, int, int, int]
) -> tuple[nib.Nifti1Header, Geometry]:
    """Return the NIfTI header of a store as that of a single file without extensions, and what it says.

    Parameters
    ----------
    path : Path
        Of the store, for messages.
    description : Description
    dtype : str
    shape : (C, D, H, W) int

    Returns
    -------
    header : nib.Nifti1Header
        The original's; where it had none one that stores the canonical grid, of NIfTI-2 if NIfTI-1 would round the
        scaling.
    geometry : Geometry
        Of the voxels behind the header, in the original's order and byte order.

    Raises
    ------
    VolumeError
        If the header does not fit the voxels.
    """
    if description.header:
        header = nifti_header(path, description.header)
    else:
        header = _made_header(description, dtype, shape)
    header["magic"], header["vox_offset"] = _SINGLE[int(header.sizeof_hdr)], header.single_vox_offset
    geometry, _ = parse_header(Path("header.nii"), header.binaryblock)
    stored = description.geometry(dtype, shape)
    if (geometry.dtype, geometry.frames, geometry.shape) != (stored.dtype, stored.frames, stored.shape):
        raise VolumeError(path, "its header is of other voxels than it holds")
    return header, geometry


def _made_header(description: Description, dtype: str, shape: tuple[int, int, int, int]) -> nib.Nifti1Header:
    channels, d, h, w = shape
    scaling = np.array([description.slope, description.intercept])
    fits = (scaling == scaling.astype(np.float32)).all() and max(shape) < 2**15
    kind: Any = nib.Nifti1Header if fits else nib.Nifti2Header
    header: nib.Nifti1Header = kind()
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape((w, h, d) if channels == 1 else (w, h, d, channels))
    header.set_sform(np.array(description.affine), 1)
    header.set_qform(np.array(description.affine), 1, strip_shears=True)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = scaling
    return header
