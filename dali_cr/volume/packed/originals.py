"""Convert NIfTI files to the contents of a store, and store headers back to NIfTI headers."""

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
"""Header fields with free text, which may name a patient; NIfTI-2 has only some of them."""

_SINGLE = {348: b"n+1", 540: b"n+2\0\r\n\x1a\n"}
"""Magic of a single-file volume, by the size of its header."""


def read_original(path: Path, relative: str, *, keep_text: bool = False) -> StoreContents:
    """Read a whole NIfTI file.

    Parameters
    ----------
    path : Path
    relative : str
        Path that is recorded in the store.
    keep_text : bool
        Keep the `TEXTS` of the header.

    Returns
    -------
    contents : StoreContents
        Valid until this thread reads another file.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, or changes while it is read.
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
    prefix = bytes(content[: geometry.data_offset]) if data == path else _decompressed(path)
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
        extensions=_count_extensions(prefix, header),
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
    """Return the decompressed content of a pair's header file."""
    content = path.read_bytes()
    return gzip.decompress(content) if reader.is_gzip(content) else content


def _count_extensions(prefix: bytes, header: nib.Nifti1Header) -> int:
    """Return the number of extensions after a header."""
    at = int(header.sizeof_hdr) + 4
    count = 0
    if prefix[at - 4 : at - 3] in (b"", b"\0"):
        return 0
    while at + 8 <= len(prefix):
        size = int(np.frombuffer(prefix, f"{header.endianness}i4", 1, at)[0])
        if size < 8:
            break
        count += 1
        at += size
    return count


def read_grid(path: Path) -> tuple[nib.Nifti1Header, Geometry]:
    """Read the NIfTI header of a file, or of a brick store's original, and its geometry.

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
    """Return the NIfTI header of a store as that of a single file without extensions, and its geometry.

    Parameters
    ----------
    path : Path
        Path of the store, for messages.
    description : Description
    dtype : str
    shape : (C, D, H, W) int

    Returns
    -------
    header : nib.Nifti1Header
        Header of the original. Without one, a new header for the canonical grid; NIfTI-2 if NIfTI-1 would round the
        scaling.
    geometry : Geometry
        Geometry of the voxels after the header, in the axes and byte order of the original.

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
        raise VolumeError(path, "damaged: its header does not fit its voxels")
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
