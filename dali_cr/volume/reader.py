"""Read a file's bytes: decompress or decode them, and check that the file is the one that was scanned.

Returned arrays may lie in memory that each thread keeps and reuses, because a new allocation of a volume's size costs
as much in page faults as the decompression. They are valid only until the same thread reads again.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.system.memory import physical_memory, usable_memory
from dali_cr.system.scratch import scratch
from dali_cr.volume import nifti
from dali_cr.volume.access import check_unchanged, fill, opened
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.igzip import MAX_REST, unpack, unpack_start
from dali_cr.volume.images import decode_image, is_image, parse_image
from dali_cr.volume.nifti import HEADER_BYTES, parse_header
from dali_cr.volume.packed.layout import is_store
from dali_cr.volume.packed.store import Store

Bytes = npt.NDArray[np.uint8]

_MAX_RATIO = 1032
"""Largest compression ratio of Deflate; JPEG hardly exceeds it."""

_HEAD_BYTES = 1 << 16


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of a NIfTI volume or a brick store."""
    return nifti.is_volume(os.fspath(path)) or is_store(path)


def is_gzip(head: bytes | memoryview) -> bool:
    """Whether the bytes are the start of a gzip stream, whatever the suffix of the file."""
    return bytes(head[:2]) == b"\x1f\x8b"


def read_header(path: Path) -> tuple[Geometry, Path]:
    """Read the header of a NIfTI file, an image or a brick store.

    Parameters
    ----------
    path : Path

    Returns
    -------
    geometry : Geometry
    data : Path
        The file with the voxels.

    Raises
    ------
    VolumeError
        If the file cannot be read or its format is not supported.
    """
    if is_image(path):
        # The whole file, because long metadata may precede the image header.
        with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            if not os.fstat(descriptor).st_size:
                raise VolumeError(path, "empty file")
            return parse_image(path, file), path
    if is_store(path):
        return Store(path).layout.geometry, path
    return parse_header(path, read_nifti_head(path))


def read_nifti_head(path: Path) -> bytes:
    """Read the first `nifti.HEADER_BYTES` bytes of a file's decompressed content, or fewer if it is shorter.

    Raises
    ------
    VolumeError
        If the file is empty or cannot be read.
    """
    head = read_head(path)
    if not head:
        raise VolumeError(path, "empty file")
    if is_gzip(head):
        head = unpack_start(path, head, HEADER_BYTES)
    return head[:HEADER_BYTES]


def read_data(path: Path, stop: int, *, size: int | None = None, mtime_ns: int | None = None) -> Bytes:
    """Read at least the first `stop` bytes of a file's decompressed content.

    Parameters
    ----------
    path : Path
    stop : int
    size, mtime_ns : int, optional
        Size and modification time of the file at the scan; checked against the current ones.

    Returns
    -------
    data : (>= stop,) uint8
        Valid until this thread reads again; a memory map if the file is not compressed.

    Raises
    ------
    VolumeError
        If the file cannot be read, has changed, is damaged, or is too short.
    """
    if is_store(path):
        return _open_store(path, stop, size, mtime_ns).read_start(stop)
    with opened(path) as descriptor:
        status = os.fstat(descriptor)
        check_unchanged(path, status, size, mtime_ns)
        if is_image(path):
            return _decode(path, descriptor, stop)[0]
        if not is_gzip(os.pread(descriptor, 2, 0)):
            return _map(path, descriptor, status.st_size, stop)
        check_plausible(path, stop, status.st_size)
        packed = scratch("packed", status.st_size)
        fill(path, descriptor, packed)
        return unpack(path, packed, stop)


def check_plausible(path: Path, declared: int, file_size: int) -> None:
    """Raise VolumeError if a header declares more bytes than its compressed file or the memory can hold."""
    if declared > _MAX_RATIO * file_size + HEADER_BYTES:
        raise VolumeError(path, f"its header declares {declared} bytes, more than {file_size} packed bytes can hold")
    _check_memory(path, declared)


def _check_memory(path: Path, declared: int) -> None:
    """Raise VolumeError if a header declares more bytes than the memory can hold."""
    memory = usable_memory()
    if declared > memory:
        limit = "this machine has" if memory == physical_memory() else "the container has"
        raise VolumeError(path, f"its header declares {declared} bytes, {limit} {memory} bytes of memory")


def read_whole(path: Path, stop: int) -> tuple[Bytes, str]:
    """Read a whole file; return the first `stop` bytes of its content and the SHA-256 of the file.

    Parameters
    ----------
    path : Path
    stop : int

    Returns
    -------
    data : (stop,) uint8
        Valid until this thread reads again.
    digest : str
        64 hexadecimal digits; for a brick store the hash of its original file.

    Raises
    ------
    VolumeError
        If the file cannot be read, is damaged anywhere (checksums of gzip, PNG and brick stores are verified), or is
        too short.
    """
    if is_store(path):
        store = _open_store(path, stop)
        store.verify()
        return store.read_start(stop), store.layout.description.original.sha256
    with opened(path) as descriptor:
        file_size = os.fstat(descriptor).st_size
        if is_image(path):
            return _decode(path, descriptor, stop, to_end=True)
        packed_file = is_gzip(os.pread(descriptor, 2, 0))
        # gzip stores incompressible data with a few bytes per block; a much longer file is an attack of empty blocks.
        if file_size > (2 if packed_file else 1) * stop + MAX_REST:
            raise VolumeError(path, f"is {file_size} bytes long, but its header declares only {stop} bytes of content")
        if not packed_file:
            data = _map(path, descriptor, file_size, stop)
            return data, _digest(descriptor)
        check_plausible(path, stop, file_size)
        packed = scratch("packed", file_size)
        fill(path, descriptor, packed)
        return unpack(path, packed, stop, to_end=True), hashlib.sha256(packed).hexdigest()


def read_head(path: Path) -> bytes:
    """Read the first 64 KiB of a file as stored on disk, or fewer if it is shorter."""
    with opened(path) as descriptor:
        return os.pread(descriptor, _HEAD_BYTES, 0)


def _open_store(path: Path, stop: int, size: int | None = None, mtime_ns: int | None = None) -> Store:
    """Open a brick store and check that it has at least `stop` bytes of content."""
    store = Store(path, size, mtime_ns)
    size_now = store.layout.geometry.data_bytes
    if size_now < stop:
        raise VolumeError(path, f"changed since its header was read: {stop} bytes then, {size_now} now")
    _check_memory(path, stop)
    return store


def _map(path: Path, descriptor: int, file_size: int, stop: int) -> Bytes:
    """Return a read-only memory map of an uncompressed file."""
    if file_size < stop:
        raise VolumeError(path, f"ends early: its header declares {stop} bytes, the file has {file_size}")
    return np.frombuffer(mmap.mmap(descriptor, stop, access=mmap.ACCESS_READ), np.uint8)


def _decode(path: Path, descriptor: int, stop: int, *, to_end: bool = False) -> tuple[Bytes, str]:
    """Decode an image up to byte `stop`, or the whole image and return the SHA-256 of the file."""
    file_size = os.fstat(descriptor).st_size
    packed = scratch("packed", file_size)
    fill(path, descriptor, packed)

    def memory(size: int) -> memoryview:
        if size < stop:
            raise VolumeError(path, f"changed since its header was read: {stop} bytes then, {size} now")
        check_plausible(path, size, file_size)
        return scratch("decompressed", size)

    pixels = decode_image(path, packed, memory, None if to_end else stop)
    return np.frombuffer(pixels, np.uint8), hashlib.sha256(packed).hexdigest() if to_end else ""


def _digest(descriptor: int) -> str:
    """Return the SHA-256 of a whole file."""
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while block := os.read(descriptor, 1 << 20):
        digest.update(block)
    return digest.hexdigest()
