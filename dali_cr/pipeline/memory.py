"""Reusable memory for batches, because page faults of new memory cost as much as filling it."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_ALIGNMENT = 64
_GROWTH = 1.25
"""Factor of additional memory in a new buffer, because the size of batches varies a little."""


class Section(NamedTuple):
    """One array of a batch: its name, shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


class Buffers:
    """A pool of reusable buffers.

    Parameters
    ----------
    allocate : callable, optional
        Returns a uint8 array of a given size. Default: ordinary memory.
    """

    def __init__(self, allocate: Callable[[int], Bytes] | None = None) -> None:
        self._allocate = allocate or (lambda size: np.empty(size, np.uint8))
        self._free: deque[Bytes] = deque()

    def take(self, size: int) -> Bytes:
        """Return an uninitialised buffer of at least `size` bytes, to be returned with `give`."""
        try:
            buffer = self._free.popleft()
        except IndexError:
            return self._allocate(math.ceil(size * _GROWTH))
        return buffer if buffer.size >= size else self._allocate(math.ceil(size * _GROWTH))

    def give(self, buffer: Bytes) -> None:
        """Return a buffer to the pool."""
        self._free.append(buffer)

    def lend(self, size: int) -> Bytes:
        """Return `size` bytes of a buffer that returns to the pool once no array refers to them."""
        buffer = self.take(size)
        # A NumPy view refers to the owner of the memory; `frombuffer` makes `lent` the owner that views refer to.
        lent = np.frombuffer(buffer.data, np.uint8, size)
        weakref.finalize(lent, self._free.append, buffer).atexit = False
        return lent

    def lend_arrays(self, sections: Sequence[Section]) -> dict[str, Any]:
        """Return uninitialised arrays by name, in a buffer from `lend`."""
        return cut(self.lend(size_of(sections)), sections)


class SentBuffers(Buffers):
    """A pool of buffers that a GPU reads; each returns to the pool once it has been read.

    Parameters
    ----------
    allocate : callable, optional
        As for `Buffers`.
    mark : callable, optional
        Returns an event whose `done` is true once the GPU has read what was queued before. Default: buffers have been
        read when they are `sent`.
    """

    def __init__(self, allocate: Callable[[int], Bytes] | None = None, mark: Callable[[], Any] | None = None) -> None:
        super().__init__(allocate)
        self._mark = mark
        self._reading: deque[tuple[Any, Bytes]] = deque()
        self._recycling = threading.Lock()  # several threads prepare batches

    def take(self, size: int) -> Bytes:
        """Return an uninitialised buffer of at least `size` bytes, to be returned with `give` or `sent`."""
        with self._recycling:
            while self._reading and (self._reading[0][0] is None or self._reading[0][0].done):
                self.give(self._reading.popleft()[1])
        return super().take(size)

    def sent(self, buffer: Bytes) -> None:
        """Return a buffer to the pool once the GPU has read what was queued before."""
        self._reading.append((self._mark() if self._mark else None, buffer))


def size_of(sections: Iterable[Section]) -> int:
    """Return the size in bytes of consecutive, aligned arrays."""
    return sum(_padded(section) for section in sections)


def cut(buffer: Any, sections: Iterable[Section]) -> dict[str, Any]:
    """Return consecutive, aligned arrays in a buffer.

    Parameters
    ----------
    buffer : (bytes,) uint8 array of NumPy or CuPy
    sections : iterable of Section

    Returns
    -------
    arrays : dict
        Arrays by name.
    """
    arrays, at = {}, 0
    for section in sections:
        # Constructed directly, because slicing, viewing and reshaping take CuPy several times as long.
        if isinstance(buffer, np.ndarray):
            array = np.ndarray(section.shape, section.dtype, buffer, at)
        else:
            array = type(buffer)(section.shape, section.dtype, buffer.data + at)
        arrays[section.name] = array
        at += _padded(section)
    return arrays


def _padded(section: Section) -> int:
    size = math.prod(section.shape) * int(np.dtype(section.dtype).itemsize)
    return -(-size // _ALIGNMENT) * _ALIGNMENT
