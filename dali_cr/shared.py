"""Memory that other processes of the same user can map, and that ends with the last of them."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_serials = count()


@dataclass(frozen=True)
class Place:
    """Where another process finds a piece of shared memory; `serial` is never used twice by one process."""

    serial: int
    path: str
    size: int

    def open(self) -> Bytes:
        """Map it."""
        with open(self.path, "r+b", buffering=0) as file:
            return np.frombuffer(mmap.mmap(file.fileno(), self.size), np.uint8)


class Shared(dict[int, Bytes]):
    """Memory by number, as `dali_cr.source.take` keeps it, in files without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, Place] = {}
        self._descriptors: dict[int, int] = {}

    def allocate(self, number: int, size: int) -> None:
        """Take memory, in place of what had this number."""
        self._close(number)
        descriptor = os.memfd_create("dali_cr", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        self._descriptors[number] = descriptor
        self.places[number] = Place(next(_serials), f"/proc/{os.getpid()}/fd/{descriptor}", size)
        self[number] = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)

    def close(self) -> None:
        """Let go; arrays that are still in use stay valid."""
        for number in list(self._descriptors):
            self._close(number)

    def _close(self, number: int) -> None:
        if number in self._descriptors:
            os.close(self._descriptors.pop(number))
