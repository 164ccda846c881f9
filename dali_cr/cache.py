"""Inflated volumes kept after the first read: in host memory or on a scratch disk, shared by the ranks of a node.

A level is a folder of plain files, one a volume, named by the content of the file it came from and put in place by
renaming, so that a reader sees a whole file or none, whoever writes and whoever is killed. Host memory is a folder in
/dev/shm that its last user removes. A level fills and never evicts: over a shuffled stream the hit rate is then the
budget's share of the data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import math
import mmap
import os
import re
import resource
import shutil
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr import reader
from dali_cr.index import Index, Volume

Bytes = npt.NDArray[np.uint8]

SHARED_MEMORY = Path("/dev/shm")

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_OPEN_MAPS = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
"""Maps that a level keeps open: each holds a file descriptor, of which others need some too."""

_log = logging.getLogger(__name__)


def parse_cache(text: str) -> tuple[str, str, float]:
    """Take a level's description apart.

    Parameters
    ----------
    text : str
        "gpu:40GB", "host:16GB", "disk:PATH" or "disk:PATH:200GB".

    Returns
    -------
    kind : "gpu", "host" or "disk"
    path : str
        Empty but for "disk".
    budget : float
        Bytes; infinite for a disk without one.

    Raises
    ------
    ValueError
        If it is no such text.

    Examples
    --------
    >>> parse_cache("host:16GB")
    ('host', '', 16000000000.0)
    >>> parse_cache("disk:/scratch/volumes")
    ('disk', '/scratch/volumes', inf)
    """
    kind, _, rest = text.partition(":")
    path, _, last = rest.rpartition(":")
    budget = _parse_bytes(last)
    if kind in ("gpu", "host") and not path and budget is not None:
        return kind, "", budget
    if kind == "disk" and rest:
        return (kind, path, budget) if path and budget is not None else (kind, rest, math.inf)
    raise ValueError(f"cache: wanted 'gpu:40GB', 'host:16GB', 'disk:PATH' or 'disk:PATH:200GB', got {text!r}")


def _parse_bytes(text: str) -> float | None:
    """Return the bytes of "40GB" or "1.5 GiB", or None if it is no such text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?|)B", text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def file_bytes(volume: Volume) -> int:
    """Return the bytes of a volume's inflated file, header and all frames."""
    return volume.geometry.data_offset + volume.geometry.data_bytes


class Cache:
    """Reads volumes through levels, the fastest first.

    Parameters
    ----------
    levels : sequence of Level
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = tuple(levels)

    def read(self, root: Path, volume: Volume, upto: int) -> Bytes:
        """Return at least the first `upto` bytes of a volume's file, inflated.

        A miss for which there is room reads the whole file and keeps it; one without reads no further than `upto`.

        Parameters
        ----------
        root : Path
            The index's.
        volume : Volume
        upto : int

        Returns
        -------
        data : (>= upto,) uint8
            Valid until this thread reads again.

        Raises
        ------
        VolumeError
            If the file has to be read and cannot be, or changed.
        """
        size, data, above = file_bytes(volume), None, list[Level]()
        for level in self.levels:
            data = level.get(volume.sha256, size)
            if data is not None:
                break
            above.append(level)
        if data is None:
            whole = any(level.has_room(size) for level in above)
            known = {"size": volume.size, "mtime_ns": volume.mtime_ns}
            data = reader.read_data(root / volume.data, size if whole else upto, **known)
        if len(data) == size:
            for level in above:
                level.put(volume.sha256, data)
        return data

    def report(self) -> dict[str, dict[str, float]]:
        """Return bytes, budget, hits and misses of each level; hits and misses are this process's."""
        return {level.name: level.report() for level in self.levels}

    def close(self) -> None:
        """Let go of every level."""
        for level in self.levels:
            level.close()


class Level:
    """A folder of inflated volumes with a budget in bytes.

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
        self._count = threading.Lock()
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
        with self._count:
            self.hits, self.misses = self.hits + (data is not None), self.misses + (data is None)
        return data

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


def open_cache(descriptions: Sequence[str], index: Index) -> Cache:
    """Open the host and disk levels that are described.

    Parameters
    ----------
    descriptions : sequence of str
        As `parse_cache` takes them; "gpu" is left to the GPU's side.
    index : Index
        Whose volumes will be kept.

    Raises
    ------
    ValueError
        If a description is wrong, or /dev/shm is smaller than what would be put there.
    """
    levels = []
    for kind, path, budget in map(parse_cache, descriptions):
        if kind == "disk":
            levels.append(Level("disk", Path(path), budget))
        elif kind == "host":
            levels.append(_open_host(index, budget))
    return Cache(levels)


def _open_host(index: Index, budget: float) -> Level:
    """Open the node's host level for an index, after removing those that killed processes left."""
    sizes = {volume.sha256: file_bytes(volume) for case in index.cases for volume in case.volumes}
    prefix = f"dali_cr-{os.getuid()}-"
    own = SHARED_MEMORY / f"{prefix}{hashlib.sha256(str(sorted(sizes)).encode()).hexdigest()[:16]}"
    for folder in SHARED_MEMORY.glob(f"{prefix}*"):
        if folder != own:
            _remove_unused(folder)
    level = Level("host", own, budget, temporary=True)
    status = os.statvfs(SHARED_MEMORY)
    wanted, there = min(budget, sum(sizes.values())), status.f_frsize * status.f_bavail + level.report()["bytes"]
    if wanted > there:
        level.close()
        raise ValueError(
            f"cache: wanted {wanted / 1e9:.2f} GB of host memory, {SHARED_MEMORY} has {there / 1e9:.2f} GB free; "
            "take a smaller budget, make it larger (docker run --shm-size), or keep volumes on a disk ('disk:PATH')"
        )
    return level


def _remove_unused(folder: Path) -> None:
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
