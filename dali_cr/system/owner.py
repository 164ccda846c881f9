"""One writer for each output: a lock that the kernel releases when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"
"""The file in an output folder that its process locks, and removes at its end."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What flock answers on file systems without locks."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Hold an output folder for this process alone.

    Parameters
    ----------
    folder : Path
        Made if it is not there; removed again at the end if nothing was put into it.

    Raises
    ------
    ValueError
        If another process holds it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: expected a folder, {folder} is a file")
    with _made(folder), _locked(folder / LOCK, folder):
        yield


@contextlib.contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Hold an output file for this process alone; its folder is made if it is not there.

    Raises
    ------
    ValueError
        If another process holds it, or a folder is there.
    """
    if path.is_dir():
        raise ValueError(f"out: expected a file, {path} is a folder")
    with _made(path.parent), _locked(path.with_name(f".{path.name}{LOCK}"), path):
        yield


def entries(folder: Path) -> list[str]:
    """Return the names in an output folder, sorted, without locks and without files that a killed process began."""
    names = (entry.name for entry in folder.iterdir()) if folder.exists() else ()
    return sorted(name for name in names if name != LOCK and not name.endswith(".part"))


def refuse_full(folder: Path) -> None:
    """Raise ValueError unless an output folder is new or empty.

    Raises
    ------
    ValueError
        The message names the first file or folder in it.
    """
    if held := entries(folder):
        raise ValueError(f"out: expected a new or empty folder, {folder} holds {held[0]}")


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder that this process holds takes upper and lower case for the same."""
    return (folder / LOCK.upper()).exists()


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; at the end remove those of them that are still empty."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in made:
            try:
                place.rmdir()
            except OSError:
                break


@contextlib.contextmanager
def _locked(lock: Path, what: Path) -> Iterator[None]:
    descriptor = _lock(lock, what)
    try:
        yield
    finally:
        # Before the lock is released: whoever opened the file meanwhile sees that it is gone, and makes a new one.
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
        os.close(descriptor)


def _lock(lock: Path, what: Path) -> int:
    """Lock a file; return its descriptor."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise ValueError(
                f"out: {what} is in use by another process ({holder}); wait for it to end, or give another --out"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            _log.warning("%s: the file system has no locks; start no second process with this output", what)
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        os.close(descriptor)
