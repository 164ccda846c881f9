"""Lock output folders and files for one process; the operating system releases locks when a process ends."""

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
"""Name of the lock file in an output folder, which is removed at the end."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Error codes of flock on file systems without locks."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Lock an output folder for this process.

    Parameters
    ----------
    folder : Path
        Created if missing; removed at the end if it is empty.

    Raises
    ------
    ValueError
        If another process has locked it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: expected a folder, got the file {folder}")
    with _made(folder), _locked(folder / LOCK, folder):
        yield


@contextlib.contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Lock an output file for this process; its folder is created if missing.

    Raises
    ------
    ValueError
        If another process has locked it, or it is a folder.
    """
    if path.is_dir():
        raise ValueError(f"out: expected a file, got the folder {path}")
    with _made(path.parent), _locked(path.with_name(f".{path.name}{LOCK}"), path):
        yield


def entries(folder: Path) -> list[str]:
    """Return the names in an output folder, sorted, without locks and partial files of killed processes."""
    names = (entry.name for entry in folder.iterdir()) if folder.exists() else ()
    return sorted(name for name in names if name != LOCK and not name.endswith(".part"))


def refuse_full(folder: Path) -> None:
    """Raise ValueError unless an output folder is new or empty.

    Raises
    ------
    ValueError
        The message names the first file or folder in it.
    """
    if names := entries(folder):
        raise ValueError(f"out: expected a new or empty folder, got {folder} with {names[0]}")


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a locked output folder ignores upper and lower case."""
    return (folder / LOCK.upper()).exists()


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; at the end remove the created ones that are still empty."""
    try:
        made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        for created in made:
            try:
                created.rmdir()
            except OSError:
                break


def _unwritable(folder: Path, error: OSError) -> OSError:
    """Return the error to raise for a folder in which nothing can be written."""
    return OSError(f"out: expected a folder to write into, got {folder}: {error.strerror}; give another --out")


@contextlib.contextmanager
def _locked(lock: Path, what: Path) -> Iterator[None]:
    descriptor = _lock(lock, what)
    try:
        yield
    finally:
        # Unlink before releasing the lock: a process that opened the file in the meantime then notices and retries.
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
        os.close(descriptor)


def _lock(lock: Path, what: Path) -> int:
    """Lock a file; return its descriptor."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _unwritable(lock.parent, error) from error
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
