"""Read raw voxels of a box from a brick store; only the bricks of the box are read, without a cache."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.volumes import Volume
from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import Geometry, Triple
from dali_cr.volume.packed.store import Store, open_store


def read_box(volume: Volume, root: Path, start: Triple, stop: Triple, out: npt.NDArray[np.uint8]) -> None:
    """Read the raw voxels of a box of a packed volume into a buffer, without the GIL.

    Parameters
    ----------
    volume : Volume
        Volume in a brick store (`packed` is true).
    root : Path
        Root of the index.
    start, stop : (3,) int
        The canonical box [start, stop), inside the volume.
    out : (voxels of the box * itemsize,) uint8, contiguous
        Receives the voxels in C order, little-endian.

    Raises
    ------
    VolumeError
        If the store cannot be read, is damaged, or changed since the scan.
    ValueError
        If the box is not inside the volume, or `out` has another size.
    """
    store = open_store(_path_of(root, volume.data), volume.size, volume.mtime_ns)
    if _lies_straight(volume.geometry):
        store.read_box(volume.frame, start, stop, out)
    else:
        raw = _read_turned(store, volume, start, stop)
        out.view(raw.dtype).reshape(raw.shape)[...] = raw


def view_box(volume: Volume, root: Path, start: Triple, stop: Triple) -> npt.NDArray[Any]:
    """Return the raw voxels of a box of a packed volume.

    Parameters
    ----------
    volume, root, start, stop
        See `read_box`.

    Returns
    -------
    raw : (stop - start) of the volume's dtype, little-endian
        Valid until this thread reads again.

    Raises
    ------
    VolumeError, ValueError
        See `read_box`.
    """
    store = open_store(_path_of(root, volume.data), volume.size, volume.mtime_ns)
    if _lies_straight(volume.geometry):
        return _read_straight(store, volume, start, stop)
    return _read_turned(store, volume, start, stop)


@lru_cache(1 << 16)
def _path_of(root: Path, data: str) -> Path:
    """Return the path of a store; cached, because making and hashing a Path takes half of the Python time here."""
    return root / data


def is_direct(volume: Volume) -> bool:
    """Whether `read_box` decompresses the bricks of a volume directly into the output buffer."""
    return volume.packed and _lies_straight(volume.geometry)


def _lies_straight(geometry: Geometry) -> bool:
    """Whether a volume has the same axes as its store."""
    _, height, width = geometry.shape
    return geometry.base == 0 and geometry.strides == (height * width, width, 1)


def _read_straight(store: Store, volume: Volume, start: Triple, stop: Triple) -> npt.NDArray[Any]:
    """Read a box along the axes of the store."""
    box = tuple(b - a for a, b in zip(start, stop, strict=True))
    memory = np.frombuffer(scratch("box", max(0, math.prod(box)) * volume.geometry.itemsize), np.uint8)
    store.read_box(volume.frame, start, stop, memory)
    return memory.view(volume.geometry.numpy_dtype).reshape(box)


def _read_turned(store: Store, volume: Volume, start: Triple, stop: Triple) -> npt.NDArray[Any]:
    """Read a box of a channel whose axes were reordered and flipped to match the first channel of its case."""
    geometry, stored = volume.geometry, store.layout.geometry
    order = next(
        order
        for order in permutations((0, 1, 2))
        if all(
            (abs(step), length) == (stored.strides[axis], stored.shape[axis])
            for step, length, axis in zip(geometry.strides, geometry.shape, order, strict=True)
        )
    )
    first, last = [0, 0, 0], [0, 0, 0]
    for a, b, step, length, axis in zip(start, stop, geometry.strides, geometry.shape, order, strict=True):
        first[axis], last[axis] = (a, b) if step > 0 else (length - b, length - a)
    raw = _read_straight(store, volume, (first[0], first[1], first[2]), (last[0], last[1], last[2]))
    return raw.transpose(order)[tuple(slice(None, None, 1 if step > 0 else -1) for step in geometry.strides)]
