"""Raw volumes kept on the GPU, in one allocation that the decode kernel reads in place.

A volume is copied in by the very batch that first reads it, on DALI's stream, and counts as there only once that copy
was queued: batches are planned long before they run. Like every level it fills and never evicts.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from dali_cr.index.cases import Index
from dali_cr.index.volumes import Volume
from dali_cr.ops import launch
from dali_cr.volume.geometry import Geometry

Key = tuple[str, int]

_ALIGNMENT = 16


@dataclass(frozen=True)
class Upload:
    """A copy into the arena: `size` bytes from byte `start` of row `row` of the batch's raw bytes, to `offset`."""

    key: Key
    row: int
    start: int
    offset: int
    size: int


def padded(size: int) -> int:
    """Return `size` rounded up to a multiple of 16: a GPU cannot load a wide value from any odd address."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def frame_bytes(geometry: Geometry) -> int:
    """Return the bytes of one frame's voxels, padded."""
    return padded(geometry.voxels * geometry.numpy_dtype.itemsize)


class Arena:
    """The GPU's level.

    Parameters
    ----------
    budget : float
        Bytes.
    index : Index
        Whose volumes will be kept; no more is allocated than they need.
    """

    name = "gpu"

    def __init__(self, budget: float, index: Index) -> None:
        needed = {key_of(v): frame_bytes(v.geometry) for case in index.cases for v in case.volumes}
        self.budget = budget
        self._size = int(min(budget, sum(needed.values())))
        self._offsets: dict[Key, int] = {}
        self._free: list[tuple[int, int]] = []
        self._end = 0
        self._published: set[Key] = set()
        self._pending: deque[list[Upload]] = deque()
        self._lock = threading.Lock()
        self._memory: Any = None
        self.hits = self.misses = 0

    def allocate(self) -> None:
        """Take the memory, on the current device."""
        if self._memory is None:
            self._memory = launch.array_module().empty(max(self._size, _ALIGNMENT), "uint8")

    @property
    def memory(self) -> Any:
        """(bytes,) uint8 array on the GPU."""
        return self._memory

    def locate(self, volume: Volume) -> int | None:
        """Return the byte at which a volume lies, or None if it is not there yet."""
        key = key_of(volume)
        with self._lock:
            found = self._offsets[key] if key in self._published else None
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def reserve(self, volume: Volume) -> int | None:
        """Set a place aside for a volume; None without room, or where another batch is bringing it."""
        key, size = key_of(volume), frame_bytes(volume.geometry)
        with self._lock:
            if key in self._offsets:
                return None
            again = next((slot for slot in self._free if slot[1] == size), None)
            if again:
                self._free.remove(again)
                self._offsets[key] = again[0]
            elif self._end + size <= self._size:
                self._offsets[key] = self._end
                self._end += size
            return self._offsets.get(key)

    def release(self, volumes: list[Volume]) -> None:
        """Give places back whose batch was not made."""
        with self._lock:
            for volume in volumes:
                self._free.append((self._offsets.pop(key_of(volume)), frame_bytes(volume.geometry)))

    def announce(self, uploads: list[Upload]) -> None:
        """Say what the next batch brings; once a batch, in their order."""
        self._pending.append(uploads)

    def upload(self, raw: Any) -> None:
        """Queue the copies of the batch that runs now, and publish them.

        Parameters
        ----------
        raw : (B, bytes) uint8 array on the GPU
        """
        uploads = self._pending.popleft()
        for u in uploads:
            self._memory[u.offset : u.offset + u.size] = raw[u.row, u.start : u.start + u.size]
        with self._lock:
            self._published.update(u.key for u in uploads)

    def report(self) -> dict[str, float]:
        """Return bytes, budget, hits and misses."""
        with self._lock:
            return {"bytes": self._end, "budget": self.budget, "hits": self.hits, "misses": self.misses}


def key_of(volume: Volume) -> Key:
    """Return what a volume's voxels are known by."""
    return volume.cache_key, volume.frame
