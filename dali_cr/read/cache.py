"""Decompressed volumes kept after the first read: in host memory or on a scratch disk, shared by the ranks of a node.

Host memory is a folder in /dev/shm that its last user removes. A level fills and never evicts: over a shuffled stream
the hit rate is then the budget's share of the data.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Volume
from dali_cr.read.disk_cache import Bytes, Level, remove_unused
from dali_cr.system.memory import usable_memory
from dali_cr.volume import reader

SHARED_MEMORY = Path("/dev/shm")

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


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
    raise ValueError(f"cache: expected 'gpu:40GB', 'host:16GB', 'disk:PATH' or 'disk:PATH:200GB', got {text!r}")


def _parse_bytes(text: str) -> float | None:
    """Return the bytes of "40GB" or "1.5 GiB", or None if it is no such text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?|)B", text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def file_bytes(volume: Volume) -> int:
    """Return the bytes of a volume's decompressed file, header and all frames."""
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
        """Return at least the first `upto` bytes of a volume's file, decompressed.

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
            data = level.get(volume.cache_key, size)
            if data is not None:
                break
            above.append(level)
        if data is None:
            whole = any(level.has_room(size) for level in above)
            known = {"size": volume.size, "mtime_ns": volume.mtime_ns}
            data = reader.read_data(root / volume.data, size if whole else upto, **known)
        if len(data) == size:
            for level in above:
                level.put(volume.cache_key, data)
        return data

    def report(self) -> dict[str, dict[str, float]]:
        """Return bytes, budget, hits and misses of each level; hits and misses are this process's."""
        return {level.name: level.report() for level in self.levels}

    def close(self) -> None:
        """Let go of every level."""
        for level in self.levels:
            level.close()


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
    sizes = {volume.cache_key: file_bytes(volume) for case in index.cases for volume in case.volumes}
    prefix = f"dali_cr-{os.getuid()}-"
    own = SHARED_MEMORY / f"{prefix}{hashlib.sha256(str(sorted(sizes)).encode()).hexdigest()[:16]}"
    for folder in SHARED_MEMORY.glob(f"{prefix}*"):
        if folder != own:
            remove_unused(folder)
    level = Level("host", own, budget, temporary=True)
    status = os.statvfs(SHARED_MEMORY)
    wanted, there = min(budget, sum(sizes.values())), status.f_frsize * status.f_bavail + level.report()["bytes"]
    if wanted > usable_memory():
        level.close()
        raise ValueError(
            f"cache: expected {wanted / 1e9:.2f} GB of host memory, got {usable_memory() / 1e9:.2f} GB "
            "in all; take a smaller budget, give the container more, or keep volumes on a disk ('disk:PATH')"
        )
    if wanted > there:
        level.close()
        raise ValueError(
            f"cache: expected {wanted / 1e9:.2f} GB of host memory, {SHARED_MEMORY} has {there / 1e9:.2f} GB free; "
            "take a smaller budget, make it larger (docker run --shm-size), or keep volumes on a disk ('disk:PATH')"
        )
    return level
