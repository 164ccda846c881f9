"""`Buffers`: memory of batches that is used again; fresh memory costs as much in page faults as filling it."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_ALIGNMENT = 64
_GROWTH = 1.25
"""By which a new buffer is larger than asked for: what a batch needs differs a little from batch to batch."""


class Section(NamedTuple):
    """One array of a batch: its name, shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


class Buffers:
    """Buffers by size.

    Parameters
    ----------
    allocate : callable, optional
        Takes a number of bytes and returns a uint8 array; ordinary memory without it.
    """

    def __init__(self, allocate: Callable[[int], Bytes] | None = None) -> None:
        self._allocate = allocate or (lambda size: np.empty(size, np.uint8))
        self._free: deque[Bytes] = deque()

    def take(self, size: int) -> Bytes:
        """Return a buffer of at least `size` bytes, with whatever is in it; it is used again after `give`."""
        try:
            buffer = self._free.popleft()
        except IndexError:
            return self._allocate(math.ceil(size * _GROWTH))
        return buffer if buffer.size >= size else self._allocate(math.ceil(size * _GROWTH))

    def give(self, buffer: Bytes) -> None:
        """Take a buffer back."""
        self._free.append(buffer)

    def lend(self, size: int) -> Bytes:
        """Return `size` bytes of a buffer that is used again once no array refers to them."""
        buffer = self.take(size)
        # A view of an array refers to the array that owns the memory: this one refers to its own owner.
        lent = np.frombuffer(buffer.data, np.uint8, size)
        weakref.finalize(lent, self._free.append, buffer).atexit = False
        return lent


def size_of(sections: Iterable[Section]) -> int:
    """Return the bytes that arrays need one after the other, each aligned."""
    return sum(_padded(section) for section in sections)


def cut(buffer: Any, sections: Iterable[Section]) -> dict[str, Any]:
    """Return arrays that lie one after the other in a buffer.

    Parameters
    ----------
    buffer : (bytes,) uint8 array of NumPy or CuPy
    sections : iterable of Section

    Returns
    -------
    arrays : dict
        By name.
    """
    arrays, at = {}, 0
    for section in sections:
        # Three views of an array, one after the other, take CuPy several times as long.
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
