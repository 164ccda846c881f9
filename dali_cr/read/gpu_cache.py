"""`Arena`: keep raw volumes in one GPU allocation, which the decode kernel reads in place.

The batch that first reads a volume copies it into the arena, on DALI's stream. The volume counts as cached only after
that copy was queued, because batches are planned long before they run. The arena fills up and never evicts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.ops.gpu import launch
from dali_cr.volume.geometry import Geometry

_ALIGNMENT = 16
_NOWHERE = -1


@dataclass(frozen=True)
class Upload:
    """A copy into the arena: `size` bytes from byte `start` of row `row` of the batch's raw bytes, to `offset`.

    `volume` is the number of the volume in the arena.
    """

    volume: int
    row: int
    start: int
    offset: int
    size: int


def padded(size: int) -> int:
    """Return `size` rounded up to a multiple of 16, because a GPU loads wide values only from aligned addresses."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def frame_bytes(geometry: Geometry) -> int:
    """Return the padded size of one frame's voxels in bytes."""
    return padded(geometry.voxels * geometry.numpy_dtype.itemsize)


class Arena:
    """The cache level on the GPU.

    Parameters
    ----------
    budget : float
        Largest size in bytes.
    index : Index
        Index with the volumes to keep; at most their size is allocated.
    """

    name = "gpu"

    def __init__(self, budget: float, index: Index) -> None:
        numbers: dict[tuple[str, int], int] = {}
        sizes: list[int] = []
        for volume in (volume for case in index.cases for volume in case.volumes):
            # Files with the same content share one copy.
            if numbers.setdefault((volume.cache_key, volume.frame), len(sizes)) == len(sizes):
                sizes.append(frame_bytes(volume.geometry))
        rows = [[numbers[volume.cache_key, volume.frame] for volume in case.volumes] for case in index.cases]
        self.budget = budget
        self._volumes, self._sizes = np.array(rows, np.int64).reshape(len(index), -1), sizes
        self._size = int(min(budget, sum(sizes)))
        self._offsets = np.full(len(sizes), _NOWHERE, np.int64)
        self._cached = np.zeros(len(sizes), np.bool_)
        self._free: list[tuple[int, int]] = []
        self._end = 0
        self._lock = threading.Lock()
        self._memory: Any = None
        self.hits = self.misses = 0

    def allocate(self) -> None:
        """Allocate the memory on the current device."""
        if self._memory is None:
            self._memory = launch.array_module().empty(max(self._size, _ALIGNMENT), "uint8")

    @property
    def memory(self) -> Any:
        """(bytes,) uint8 array on the GPU."""
        return self._memory

    def locate(self, cases: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the byte offsets (B, C) of the volumes of cases; -1 for volumes that are not cached yet."""
        volumes = self._volumes[cases]
        with self._lock:
            found = np.where(self._cached[volumes], self._offsets[volumes], _NOWHERE)
            hits = int((found != _NOWHERE).sum())
            self.hits, self.misses = self.hits + hits, self.misses + found.size - hits
        return found

    def reserve(self, case: int, channel: int) -> tuple[int, int] | None:
        """Reserve a slot for a volume.

        Returns
        -------
        slot : (number, byte offset) or None
            None if there is no room, or another batch is already copying the volume.
        """
        number = int(self._volumes[case, channel])
        size = self._sizes[number]
        with self._lock:
            if self._offsets[number] != _NOWHERE:
                return None
            released = next((slot for slot in self._free if slot[1] == size), None)
            if released:
                self._free.remove(released)
                self._offsets[number] = released[0]
            elif self._end + size <= self._size:
                self._offsets[number] = self._end
                self._end += size
            else:
                return None
            return number, int(self._offsets[number])

    def release(self, uploads: Iterable[Upload]) -> None:
        """Release the slots of a batch that failed."""
        with self._lock:
            for upload in uploads:
                self._free.append((upload.offset, self._sizes[upload.volume]))
                self._offsets[upload.volume] = _NOWHERE

    def upload(self, raw: Any, uploads: Iterable[Upload]) -> None:
        """Queue the copies of the running batch, and mark its volumes as cached.

        Parameters
        ----------
        raw : (B, bytes) uint8 array on the GPU
        uploads : iterable of Upload
        """
        for u in uploads:
            self._memory[u.offset : u.offset + u.size] = raw[u.row, u.start : u.start + u.size]
        with self._lock:
            self._cached[[u.volume for u in uploads]] = True

    def report(self) -> dict[str, float]:
        """Return bytes, budget, hits and misses."""
        with self._lock:
            return {"bytes": self._end, "budget": self.budget, "hits": self.hits, "misses": self.misses}
