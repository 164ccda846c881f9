"""A folder of decompressed volumes with a budget, shared by the processes of a node.

A volume is a plain file, named by the content of the file it came from and put in place by renaming, so that a reader
sees a whole file or none, whoever writes and whoever is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import re
import resource
import shutil
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_OPEN_MAPS = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
"""Maps that a level keeps open: each holds a file descriptor, of which others need some too."""

_log = logging.getLogger(__name__)


class Level:
    """A folder of decompressed volumes with a budget in bytes.

    Parameters
    ----------
    name : str
    folder : Path
        Made if there is none.
    budget : float
    temporary : bool
        Whether the last process that uses the folder removes it.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """

    def __init__(self, name: str, folder: Path, budget: float, *, temporary: bool = False) -> None:
        self.name, self.folder, self.budget, self._temporary = name, folder, budget, temporary
        self.hits = self.misses = 0
        self._counting = threading.Lock()
        self._full = False
        self._lock = _hold(folder)
        self._map = lru_cache(_OPEN_MAPS)(self._open)
        if _take_alone(self._lock):
            self._tidy()
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def get(self, key: str, size: int) -> Bytes | None:
        """Return the volume `key`, or None if it is not here."""
        try:
            data: Bytes | None = self._map(key, size)
        except FileNotFoundError:
            data = None
        self.count(data is not None, data is None)
        return data

    def count(self, hits: int, misses: int) -> None:
        """Count what was here and what was not."""
        with self._counting:
            self.hits, self.misses = self.hits + hits, self.misses + misses

    def has_room(self, size: int) -> bool:
        """Whether a volume of `size` bytes would be kept now."""
        return not self._full and self._used() + size <= self.budget

    def put(self, key: str, data: Bytes) -> None:
        """Keep a volume, if there is room and nobody else is writing it."""
        final, partial = self.folder / key, self.folder / f"{key}.part"
        if self._full or final.exists():
            return
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        reserved = self._reserve(len(data))
        try:
            if reserved:
                _write(descriptor, data, durable=not self._temporary)
                os.rename(partial, final)
        except OSError as error:
            self._reserve(-len(data))
            self._full, reserved = True, False
            _log.warning("cache %s: filling stops, %s: %s", self.name, self.folder, error.strerror)
        finally:
            os.close(descriptor)
            if not reserved:
                partial.unlink(missing_ok=True)

    def report(self) -> dict[str, float]:
        """Return bytes, budget, hits and misses."""
        return {"bytes": self._used(), "budget": self.budget, "hits": self.hits, "misses": self.misses}

    def close(self) -> None:
        """Let go of the folder; a temporary one is removed by the last that does."""
        self._map.cache_clear()
        if self._temporary and _take_alone(self._lock):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _open(self, key: str, size: int) -> Bytes:
        with open(self.folder / key, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise FileNotFoundError(f"{file.name} has not the {size} bytes it should have")
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)

    def _tidy(self) -> None:
        """Remove what killed processes left half written, and count what is there."""
        used = 0
        for entry in os.scandir(self.folder):
            if entry.name.endswith(".part"):
                os.unlink(entry.path)
            elif re.fullmatch(r"[0-9a-f]{64}", entry.name):
                used += entry.stat().st_size
        with _ledger(self.folder) as ledger:
            os.pwrite(ledger, f"{used:20}".encode(), 0)

    def _used(self) -> int:
        with _ledger(self.folder) as ledger:
            return int(os.pread(ledger, 20, 0) or b"0")

    def _reserve(self, size: int) -> bool:
        """Add to the bytes used by all processes, if the budget allows."""
        with _ledger(self.folder) as ledger:
            used = int(os.pread(ledger, 20, 0) or b"0") + size
            if used > self.budget:
                return False
            os.pwrite(ledger, f"{used:20}".encode(), 0)
            return True


def remove_unused(folder: Path) -> None:
    """Remove a temporary level that no process holds."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(folder / "lock", os.O_RDWR)
        if _take_alone(lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _hold(folder: Path) -> int:
    """Make the folder and hold a shared lock on it; return the lock's descriptor."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Its last user may have removed the folder in between: then the lock is on a file that is gone.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(folder / "lock").st_ino == os.fstat(lock).st_ino:
                return lock
        os.close(lock)


def _take_alone(lock: int) -> bool:
    """Hold the lock alone, if nobody else holds it; else hold it with them."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # A failed upgrade may have let go of the shared lock.
        fcntl.flock(lock, fcntl.LOCK_SH)
        return False
    return True


@contextlib.contextmanager
def _ledger(folder: Path) -> Iterator[int]:
    """Yield the file that holds the bytes used, locked against other threads and processes."""
    descriptor = os.open(folder / "ledger", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: Bytes, *, durable: bool) -> None:
    """Write all bytes; durable ones are on the disk when the file gets its name."""
    rest = data.data
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    if durable:
        os.fdatasync(descriptor)
