"""Bytes: read a file, inflate it, check it is the file that was scanned.

One gzip stream is sequential and igzip the fastest inflater; `isal_zlib._GzipReader` inflates straight into memory we
own. That memory is kept per thread: a fresh allocation of a volume's size costs as much in page faults as inflating
into it. What is returned is therefore valid only until the same thread reads again.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from dali_cr.geometry import HEADER_BYTES, Geometry, VolumeError, parse_header

Bytes = npt.NDArray[np.uint8]

_MAX_RATIO = 1032
"""Deflate cannot pack more than this many bytes into one."""

# isal's own stubs know them only as a reader of files, and as no exception.
_Inflater: Any = isal_zlib._GzipReader
_IsalError: Any = isal_zlib.error

_scratch = threading.local()


def _buffer(name: str, size: int) -> memoryview:
    """Return this thread's buffer `name`, at least `size` bytes long."""
    kept: bytearray | None = getattr(_scratch, name, None)
    if kept is None or len(kept) < size:
        kept = bytearray(size)
        setattr(_scratch, name, kept)
    return memoryview(kept)[:size]


def is_gzip(head: bytes | memoryview) -> bool:
    """Whether the bytes begin a gzip stream (the name's suffix is not asked)."""
    return bytes(head[:2]) == b"\x1f\x8b"


def read_header(path: Path) -> tuple[Geometry, Path]:
    """Read a NIfTI header.

    Parameters
    ----------
    path : Path

    Returns
    -------
    geometry : Geometry
    data : Path
        The file that holds the voxels.

    Raises
    ------
    VolumeError
        If the file cannot be read or is no NIfTI header that this package reads.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(65536) or b""
    except OSError as error:
        raise VolumeError(path, f"cannot be opened: {error.strerror or error}") from error
    if not head:
        raise VolumeError(path, "empty file")
    if is_gzip(head):
        inflated = bytearray(HEADER_BYTES)
        got = _inflate(path, _Inflater(head), memoryview(inflated))
        head = bytes(inflated[:got])
    return parse_header(path, head[:HEADER_BYTES])


def read_data(path: Path, stop: int, *, size: int | None = None, mtime_ns: int | None = None) -> Bytes:
    """Read the first `stop` bytes of a file's inflated content.

    Parameters
    ----------
    path : Path
    stop : int
    size, mtime_ns : int, optional
        The file's size and time of change when it was scanned; refused if they differ now.

    Returns
    -------
    data : (stop,) uint8
        Valid until this thread reads again; a memory map where the file is not compressed.

    Raises
    ------
    VolumeError
        If the file cannot be read, changed, is damaged, or holds less.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            _check_unchanged(path, status, size, mtime_ns)
            head = os.pread(file.fileno(), 2, 0)
            if not is_gzip(head):
                return _map(path, file.fileno(), status.st_size, stop)
            packed = _buffer("packed", status.st_size)
            _fill(path, file.fileno(), packed)
    except OSError as error:
        raise VolumeError(path, f"cannot be read: {error.strerror or error}") from error
    return _unpack(path, packed, stop)


def check_plausible(path: Path, promised: int, file_size: int) -> None:
    """Refuse a header that promises more than a gzip file of this size can hold, before memory is asked for it."""
    if promised > _MAX_RATIO * file_size + HEADER_BYTES:
        raise VolumeError(path, f"its header promises {promised} bytes, more than {file_size} bytes of gzip can hold")


def read_whole(path: Path, stop: int) -> tuple[Bytes, str]:
    """Read a file to its end: the first `stop` bytes of its content, and the SHA-256 of the file as it lies on disk.

    Parameters
    ----------
    path : Path
    stop : int

    Returns
    -------
    data : (stop,) uint8
        Valid until this thread reads again.
    digest : str
        64 hexadecimal digits.

    Raises
    ------
    VolumeError
        If the file cannot be read, is damaged anywhere (a gzip stream's CRC is checked), or holds less.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            file_size = os.fstat(file.fileno()).st_size
            if not is_gzip(os.pread(file.fileno(), 2, 0)):
                data = _map(path, file.fileno(), file_size, stop)
                return data, _digest(file)
            packed = _buffer("packed", file_size)
            _fill(path, file.fileno(), packed)
    except OSError as error:
        raise VolumeError(path, f"cannot be read: {error.strerror or error}") from error
    return _unpack(path, packed, stop, to_end=True), hashlib.sha256(packed).hexdigest()


def _check_unchanged(path: Path, status: os.stat_result, size: int | None, mtime_ns: int | None) -> None:
    """Refuse a file that is not the one that was scanned."""
    if size is not None and status.st_size != size:
        raise VolumeError(path, f"changed since the scan: {size} bytes then, {status.st_size} now; scan again")
    if mtime_ns is not None and status.st_mtime_ns != mtime_ns:
        raise VolumeError(path, "changed since the scan: its time of change differs; scan again")


def _map(path: Path, descriptor: int, file_size: int, stop: int) -> Bytes:
    """Return a read-only memory map of an uncompressed file."""
    if file_size < stop:
        raise VolumeError(path, f"ends early: its header promises {stop} bytes, the file has {file_size}")
    return np.frombuffer(mmap.mmap(descriptor, stop, access=mmap.ACCESS_READ), np.uint8)


def _fill(path: Path, descriptor: int, target: memoryview) -> None:
    """Read a file's bytes from its start until `target` is full."""
    done = 0
    while done < len(target):
        got = os.preadv(descriptor, [target[done:]], done)
        if not got:
            raise VolumeError(path, f"ends early: {len(target)} bytes expected, {done} read")
        done += got


def _unpack(path: Path, packed: memoryview, stop: int, *, to_end: bool = False) -> Bytes:
    """Inflate the first `stop` bytes; with `to_end`, check the rest of the stream and its CRC too."""
    check_plausible(path, stop, len(packed))
    target = _buffer("inflated", stop)
    reader = _Inflater(packed)
    got = _inflate(path, reader, target)
    if got < stop:
        raise VolumeError(path, f"ends early: its header promises {stop} bytes, the stream holds {got}")
    sink = _buffer("sink", 1 << 16)
    while to_end and _inflate(path, reader, sink):
        continue
    return np.frombuffer(target, np.uint8)


def _inflate(path: Path, reader: Any, target: memoryview) -> int:
    """Inflate until `target` is full or the stream ends; return the bytes written."""
    done = 0
    try:
        while done < len(target):
            got = reader.readinto(target[done:])
            if not got:
                break
            done += got
    except (EOFError, OSError, zlib.error, _IsalError) as error:
        raise VolumeError(path, f"damaged gzip stream: {error}") from error
    return done


def _digest(file: io.FileIO) -> str:
    """Return the SHA-256 of a whole file."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
