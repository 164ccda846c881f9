"""Open regular files and check that they did not change since the scan; errors are raised as `VolumeError`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dali_cr.volume.geometry import VolumeError


def read_status(path: Path) -> os.stat_result:
    """Return the status of a regular file.

    Raises
    ------
    VolumeError
        If the path is not a regular file: reading a pipe or a device might never end.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        target = f" (it is a link to {os.readlink(path)})" if os.path.islink(path) else ""
        raise VolumeError(path, f"cannot be opened: {error.strerror or error}{target}") from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise VolumeError(path, f"cannot be opened: it is {kind}, not a file")
    return status


def open_regular(path: Path) -> int:
    """Open a regular file; return its descriptor.

    Raises
    ------
    VolumeError
        If it cannot be opened or is not a regular file.
    """
    read_status(path)
    try:
        # Non-blocking: the file may have been replaced by a pipe since the check.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise VolumeError(path, f"cannot be opened: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a regular file and close it at the end; raise I/O errors in between as VolumeError."""
    descriptor = open_regular(path)
    try:
        yield descriptor
    except OSError as error:
        raise VolumeError(path, f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise VolumeError(path, "not enough memory to read it; use fewer threads or smaller files") from error
    finally:
        os.close(descriptor)


def describe_change(status: os.stat_result, size: int | None, mtime_ns: int | None) -> str:
    """Return how a file's size or modification time differs from the scanned one; empty if both are equal."""
    if size is not None and status.st_size != size:
        return f"changed since the scan: {size} bytes then, {status.st_size} now"
    if mtime_ns is not None and status.st_mtime_ns != mtime_ns:
        return "changed since the scan: its modification time differs"
    return ""


def check_unchanged(path: Path, status: os.stat_result, size: int | None, mtime_ns: int | None) -> None:
    """Raise VolumeError if a file changed since the scan."""
    if change := describe_change(status, size, mtime_ns):
        raise VolumeError(path, f"{change}; scan again")


def fill(path: Path, descriptor: int, target: memoryview, start: int = 0) -> None:
    """Read a file's bytes from offset `start` until `target` is full."""
    done = 0
    while done < len(target):
        got = os.preadv(descriptor, [target[done:]], start + done)
        if not got:
            raise VolumeError(path, f"ends early: {start + len(target)} bytes expected, {start + done} read")
        done += got
