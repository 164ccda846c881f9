"""Memory of batches: kept from batch to batch, and where another process fills it, shared with that process."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from itertools import count
from typing import Any

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
    """Memory by number, as `take` keeps it, in files without a name."""

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


Memory = dict[int, Bytes]


def take(memory: Memory, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an array in memory that is kept: page faults on fresh memory cost as much as filling it.

    Parameters
    ----------
    memory : dict
        What was kept so far.
    place : int
        Which of the arrays this is.
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array : of `shape` and `dtype`
        With whatever was there.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    if place not in memory or memory[place].size < size:
        if isinstance(memory, Shared):
            memory.allocate(place, size)
        else:
            memory[place] = np.empty(size, np.uint8)
    return memory[place][:size].view(dtype).reshape(shape)
