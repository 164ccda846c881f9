"""`Cache`: keep decompressed volumes in host memory or on a scratch disk, shared by the ranks of a node.

Host memory is a folder in /dev/shm that its last user removes. A level fills up and never evicts, so over a shuffled
stream the hit rate is the budget's share of the data.
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
    """Parse the description of a cache level.

    Parameters
    ----------
    text : str
        "gpu:40GB", "host:16GB", "disk:PATH" or "disk:PATH:200GB".

    Returns
    -------
    kind : "gpu", "host" or "disk"
    path : str
        Path of a "disk" level, otherwise empty.
    budget : float
        Budget in bytes; infinite for a disk without a budget.

    Raises
    ------
    ValueError
        If the description is invalid.

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
    """Return the bytes of a text such as "40GB" or "1.5 GiB"; None if it is invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?|)B", text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def file_bytes(volume: Volume) -> int:
    """Return the size of a volume's decompressed file in bytes, with header and all frames."""
    return volume.geometry.data_offset + volume.geometry.data_bytes


class Cache:
    """Reads volumes through cache levels, the fastest first.

    Parameters
    ----------
    levels : sequence of Level
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = tuple(levels)

    def read(self, root: Path, volume: Volume, upto: int) -> Bytes:
        """Return at least the first `upto` bytes of a volume's decompressed file.

        On a miss, the whole file is read and kept if there is room; otherwise it is read only up to `upto`.

        Parameters
        ----------
        root : Path
            Root of the index.
        volume : Volume
        upto : int

        Returns
        -------
        data : (>= upto,) uint8
            Valid until this thread reads again.

        Raises
        ------
        VolumeError
            If the file cannot be read or changed since the scan.
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
        """Return bytes, budget, hits and misses of each level; hits and misses are those of this process."""
        return {level.name: level.report() for level in self.levels}

    def close(self) -> None:
        """Close all levels."""
        for level in self.levels:
            level.close()


def open_cache(descriptions: Sequence[str], index: Index) -> Cache:
    """Open the described host and disk levels.

    Parameters
    ----------
    descriptions : sequence of str
        As for `parse_cache`; "gpu" levels are ignored.
    index : Index
        Index with the volumes to keep.

    Raises
    ------
    ValueError
        If a description is invalid, or /dev/shm is too small.
    """
    levels = []
    for kind, path, budget in map(parse_cache, descriptions):
        if kind == "disk":
            levels.append(Level("disk", Path(path), budget))
        elif kind == "host":
            levels.append(_open_host(index, budget))
    return Cache(levels)


def _open_host(index: Index, budget: float) -> Level:
    """Open the host level of a node for an index, after removing levels left by killed processes."""
    sizes = {volume.cache_key: file_bytes(volume) for case in index.cases for volume in case.volumes}
    prefix = f"dali_cr-{os.getuid()}-"
    path = SHARED_MEMORY / f"{prefix}{hashlib.sha256(str(sorted(sizes)).encode()).hexdigest()[:16]}"
    for folder in SHARED_MEMORY.glob(f"{prefix}*"):
        if folder != path:
            remove_unused(folder)
    level = Level("host", path, budget, temporary=True)
    status = os.statvfs(SHARED_MEMORY)
    needed, free = min(budget, sum(sizes.values())), status.f_frsize * status.f_bavail + level.report()["bytes"]
    if needed > usable_memory():
        level.close()
        raise ValueError(
            f"cache: expected {needed / 1e9:.2f} GB of host memory, got {usable_memory() / 1e9:.2f} GB "
            "in total; use a smaller budget, a larger container, or a disk ('disk:PATH')"
        )
    if needed > free:
        level.close()
        raise ValueError(
            f"cache: expected {needed / 1e9:.2f} GB free in {SHARED_MEMORY}, got {free / 1e9:.2f} GB; "
            "use a smaller budget, enlarge it (docker run --shm-size), or use a disk ('disk:PATH')"
        )
    return level
