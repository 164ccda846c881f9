"""`Level`: a folder of decompressed volumes with a budget, shared by the processes of a node.

Each volume is a plain file, named by the hash of its source file and put in place by renaming, so that readers never
see a partial file, even if a writer is killed.
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
"""Number of memory maps that a level keeps open; each needs a file descriptor."""

_log = logging.getLogger(__name__)


class Level:
    """A folder of decompressed volumes with a budget in bytes.

    Parameters
    ----------
    name : str
    folder : Path
        Created if missing.
    budget : float
    temporary : bool
        Whether the last process that uses the folder removes it.

    Raises
    ------
    OSError
        If the folder cannot be created or written.
    """

    def __init__(self, name: str, folder: Path, budget: float, *, temporary: bool = False) -> None:
        self.name, self.folder, self.budget, self._temporary = name, folder, budget, temporary
        self.hits = self.misses = 0
        self._counting = threading.Lock()
        self._full = False
        self._lock = _lock_shared(folder)
        self._map = lru_cache(_OPEN_MAPS)(self._open)
        if _lock_exclusively(self._lock):
            self._tidy()
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def get(self, key: str, size: int) -> Bytes | None:
        """Return the volume `key`, or None if it is not cached."""
        try:
            data: Bytes | None = self._map(key, size)
        except FileNotFoundError:
            data = None
        self.count(data is not None, data is None)
        return data

    def count(self, hits: int, misses: int) -> None:
        """Add to the hits and misses of this process."""
        with self._counting:
            self.hits, self.misses = self.hits + hits, self.misses + misses

    def has_room(self, size: int) -> bool:
        """Whether a volume of `size` bytes fits into the budget."""
        return not self._full and self._used() + size <= self.budget

    def put(self, key: str, data: Bytes) -> None:
        """Store a volume, if there is room and no other process is writing it."""
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
            _log.warning("cache %s: no more volumes are stored, %s: %s", self.name, self.folder, error.strerror)
        finally:
            os.close(descriptor)
            if not reserved:
                partial.unlink(missing_ok=True)

    def report(self) -> dict[str, float]:
        """Return bytes, budget, hits and misses."""
        return {"bytes": self._used(), "budget": self.budget, "hits": self.hits, "misses": self.misses}

    def close(self) -> None:
        """Close the level; the last process that closes a temporary level removes it."""
        self._map.cache_clear()
        if self._temporary and _lock_exclusively(self._lock):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _open(self, key: str, size: int) -> Bytes:
        with open(self.folder / key, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise FileNotFoundError(f"{file.name}: expected {size} bytes, got another size")
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)

    def _tidy(self) -> None:
        """Remove partial files left by killed processes, and count the bytes of the others."""
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
        """Add to the bytes used by all processes, if the budget allows it."""
        with _ledger(self.folder) as ledger:
            used = int(os.pread(ledger, 20, 0) or b"0") + size
            if used > self.budget:
                return False
            os.pwrite(ledger, f"{used:20}".encode(), 0)
            return True


def remove_unused(folder: Path) -> None:
    """Remove a temporary level that no process uses."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(folder / "lock", os.O_RDWR)
        if _lock_exclusively(lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock_shared(folder: Path) -> int:
    """Create the folder and lock it in shared mode; return the descriptor of the lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        # The last user may have removed the folder in the meantime; then the lock file no longer exists.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(folder / "lock").st_ino == os.fstat(lock).st_ino:
                return lock
        os.close(lock)


def _lock_exclusively(lock: int) -> bool:
    """Upgrade the lock to exclusive mode if no other process has it; otherwise keep it shared."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # A failed upgrade may have released the shared lock.
        fcntl.flock(lock, fcntl.LOCK_SH)
        return False
    return True


@contextlib.contextmanager
def _ledger(folder: Path) -> Iterator[int]:
    """Yield the descriptor of the file with the bytes used, locked against other threads and processes."""
    descriptor = os.open(folder / "ledger", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: Bytes, *, durable: bool) -> None:
    """Write all bytes; if `durable`, flush them to the disk before the file is renamed."""
    rest = data.data
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    if durable:
        os.fdatasync(descriptor)
