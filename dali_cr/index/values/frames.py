"""Read a whole file and measure each of its frames."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dali_cr.index.grouping import FourthAxis, too_many_frames
from dali_cr.index.values.cells import Array, canonical_view
from dali_cr.index.values.content import content_hash
from dali_cr.index.values.measure import measure, measured_bytes
from dali_cr.index.volumes import Volume
from dali_cr.system.memory import bytes_at_start, usable_memory
from dali_cr.volume import reader
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.packed.layout import SUFFIX, is_store
from dali_cr.volume.packed.store import original_path


def read_volumes(top: Path, path: str, fourth_axis: FourthAxis = "cases") -> list[Volume]:
    """Read a whole file; return a `Volume` for each of its frames.

    Raises
    ------
    VolumeError
        If it cannot be read, is damaged, is constant, or has more frames than channels are allowed.
    """
    geometry, data = reader.read_header(top / path)
    if fourth_axis == "channels" and (reason := too_many_frames(geometry.frames)):
        raise VolumeError(path, reason)
    status = read_status(data)
    packed = data.name.lower().endswith((".gz", SUFFIX))
    _refuse_beyond_memory(top / path, geometry, geometry.data_bytes + status.st_size if packed else 0)
    content, digest = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    if data != top / path:
        digest = hashlib.sha256(digest.encode() + reader.read_head(top / path)).hexdigest()
    relative = data.relative_to(top).as_posix()
    named = original_path(top / path).relative_to(top).as_posix()
    raw = np.frombuffer(content, geometry.numpy_dtype, geometry.frames * geometry.voxels, geometry.data_offset)
    found = []
    for frame, voxels in enumerate(raw.reshape(geometry.frames, geometry.voxels)):
        name = path if geometry.frames == 1 else f"{path}, frame {frame}"
        try:
            measured = measure(name, *_in_file_order(voxels, geometry) if is_store(path) else (voxels, geometry))
            content_digest = content_hash(voxels, geometry)
        except MemoryError as error:
            raise VolumeError(top / path, f"not enough memory to measure its {voxels.nbytes} bytes") from error
        stored = (digest, status.st_size, status.st_mtime_ns)
        found.append(Volume(named, relative, frame, geometry, *measured, *stored, content_digest))
    return found


def _in_file_order(voxels: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """Return a frame of a brick store in the voxel order of its original, so that statistics are equal bit for bit."""
    original = geometry.in_file_order()
    if original.strides == geometry.strides:
        return voxels, geometry
    out = np.empty_like(voxels)
    canonical_view(out, original)[...] = voxels.reshape(geometry.shape)
    return out, original


def _refuse_beyond_memory(path: Path, geometry: Geometry, content: int) -> None:
    """Raise VolumeError if measuring a volume needs more memory than this process may use.

    Parameters
    ----------
    path : Path
    geometry : Geometry
    content : int
        Bytes of memory for the file's content; 0 if the file is memory-mapped.

    Raises
    ------
    VolumeError
    """
    least = bytes_at_start() + measured_bytes(geometry) + content
    if least > usable_memory():
        raise VolumeError(path, f"measuring it needs at least {least} bytes of memory, got {usable_memory()}")
