"""Work memory of the CPU's operations, which each thread keeps from view to view: fresh memory would be page faults."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt


class WorkMemory(threading.local):
    """Arrays by name, a set for each thread."""

    def __init__(self) -> None:
        self._rooms: dict[str, npt.NDArray[np.uint8]] = {}
        self._last: dict[str, npt.NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
        """Return the array of a name, with whatever is in it; the one of that name before is given up.

        Parameters
        ----------
        name : str
        shape : tuple of int
        dtype : type
            Always the same for a name.

        Returns
        -------
        array : of `shape` and `dtype`, contiguous

        Examples
        --------
        >>> memory = WorkMemory()
        >>> memory.take("sum", (2, 3), np.float64).shape
        (2, 3)
        """
        last = self._last.get(name)
        if last is not None and last.shape == shape:
            return last
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._rooms or self._rooms[name].size < size:
            self._rooms[name] = np.empty(size, np.uint8)
        self._last[name] = self._rooms[name][:size].view(dtype).reshape(shape)
        return self._last[name]


memory = WorkMemory()
"""What all operations take from."""
