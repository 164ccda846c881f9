"""`Store`: read boxes or the whole content of an open brick store, and verify its checksums."""

from __future__ import annotations

import os
import resource
import weakref
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.system.scratch import scratch
from dali_cr.volume.access import check_unchanged, fill, open_regular, read_status
from dali_cr.volume.geometry import Triple, VolumeError
from dali_cr.volume.nifti import is_volume
from dali_cr.volume.packed.bricks import BRICK_VOXELS
from dali_cr.volume.packed.deflate import STATE_BYTES
from dali_cr.volume.packed.layout import SUFFIX, has_checksum, is_store, most_bytes, read_layout, read_table
from dali_cr.volume.packed.loops import REASONS, read_bricks

Bytes = npt.NDArray[np.uint8]

_OPEN_STORES = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
"""Number of stores that are kept open; each needs a file descriptor."""

_AT_ONCE = 1 << 20
"""Bytes of adjacent bricks that are read together."""


class Store:
    """A brick store that is open for reading; may be used by several threads.

    Parameters
    ----------
    path : Path
    size, mtime_ns : int, optional
        Size and modification time of the file at the scan; checked against the current ones.

    Attributes
    ----------
    layout : Layout

    Raises
    ------
    VolumeError
        If the file cannot be read or has changed.
    """

    def __init__(self, path: Path, size: int | None = None, mtime_ns: int | None = None) -> None:
        self.path, self._size, self._mtime_ns = path, size, mtime_ns
        self._descriptor = open_regular(path)
        # A finalizer, not a close method: the file stays open while a reader refers to the store.
        weakref.finalize(self, os.close, self._descriptor)
        status = self.check()
        self.layout = read_layout(path, status.st_size, status.st_mtime_ns)
        self._table = read_table(path, self._descriptor, self.layout)

    def check(self) -> os.stat_result:
        """Raise VolumeError if the file changed since the scan; return its status."""
        status = os.fstat(self._descriptor)
        check_unchanged(self.path, status, self._size, self._mtime_ns)
        return status

    def read_box(self, channel: int, start: Triple, stop: Triple, out: Bytes) -> None:
        """Read the raw voxels of a box of one channel, in C order and little-endian, without holding the GIL.

        Parameters
        ----------
        channel : int
        start, stop : (3,) int
            Canonical (D, H, W); inside the volume.
        out : (voxels of the box * itemsize,) uint8, contiguous
            Receives the voxels.

        Raises
        ------
        ValueError
            If the box is not inside the volume, or `out` has another size.
        VolumeError
            If the file is damaged or cannot be read.
        """
        layout = self.layout
        itemsize, shape = layout.geometry.itemsize, layout.geometry.shape
        box = tuple(b - a for a, b in zip(start, stop, strict=True))
        if min(box) < 1 or min(start) < 0 or any(b > n for b, n in zip(stop, shape, strict=True)):
            raise ValueError(f"box: expected a box inside {shape}, got {start} to {stop}")
        if out.dtype != np.uint8 or out.shape != (box[0] * box[1] * box[2] * itemsize,):
            raise ValueError(f"out: expected uint8 for a box of {box}, got {out.dtype} {out.shape}")
        size = BRICK_VOXELS * itemsize + max(_AT_ONCE, most_bytes(itemsize))
        memory = np.frombuffer(scratch("bricks", size), np.uint8)
        state = np.frombuffer(scratch("zlib_state", STATE_BYTES), np.uint8)
        place = (layout.shard, self._table[channel], layout.brick, itemsize)
        code, number = read_bricks(self._descriptor, *place, tuple(start), tuple(stop), memory, state, out)
        if code:
            raise VolumeError(self.path, f"brick {number} of channel {channel}: {REASONS[code]}")

    def verify(self) -> None:
        """Check the checksum of every brick.

        Raises
        ------
        VolumeError
            If a brick is damaged; the message names the first one.
        """
        for channel, table in enumerate(self._table):
            for number, (offset, size) in enumerate(table.reshape(-1, 2).tolist()):
                if offset >= 0:
                    content = scratch("bricks", size)
                    fill(self.path, self._descriptor, content, self.layout.shard + offset)
                    if not has_checksum(content):
                        raise VolumeError(self.path, f"brick {number} of channel {channel}: its checksum is wrong")

    def read_start(self, stop: int) -> Bytes:
        """Decompress the content from its start, channel after channel in C order.

        Parameters
        ----------
        stop : int
            Number of bytes to decompress.

        Returns
        -------
        data : (>= stop,) uint8
            Whole slices across D. Valid until this thread reads again.

        Raises
        ------
        VolumeError
            If the file is damaged or cannot be read.
        """
        geometry = self.layout.geometry
        depth, height, width = geometry.shape
        slice_bytes = height * width * geometry.itemsize
        slices = min(-(-stop // slice_bytes), geometry.frames * depth)
        out = np.frombuffer(scratch("decompressed", slices * slice_bytes), np.uint8)
        for channel in range(-(-slices // depth)):
            last = min(depth, slices - channel * depth)
            part = out[channel * depth * slice_bytes :][: last * slice_bytes]
            self.read_box(channel, (0, 0, 0), (last, height, width), part)
        return out


_opened = lru_cache(_OPEN_STORES)(Store)


def open_store(path: Path, size: int, mtime_ns: int) -> Store:
    """Open a brick store, or return it if it is still open.

    Parameters
    ----------
    path : Path
    size, mtime_ns : int
        Size and modification time of the file at the scan.

    Raises
    ------
    VolumeError
        If the file cannot be read or has changed.
    """
    store = _opened(path, size, mtime_ns)
    if not store.check().st_nlink:  # removed or replaced since it was opened
        _opened.cache_clear()
        store = _opened(path, size, mtime_ns)
    return store


def original_of(path: Path) -> str:
    """Return the name of the NIfTI file that a store was made from, without folders.

    If the store was made from another format or cannot be read, return the name of the store.
    """
    try:
        status = read_status(path)
        original = read_layout(path, status.st_size, status.st_mtime_ns).description.original
    except VolumeError:  # reported when the store is read
        return path.name
    return original.name if is_volume(original.name) else path.name


def original_path(path: Path) -> Path:
    """Return the path that the original of a brick store would have next to it; other paths are returned unchanged."""
    return path.with_name(original_of(path)) if is_store(path) else path


def find_store(path: Path) -> Path | None:
    """Return the brick store that replaces a missing file in its folder, or None."""
    if os.path.lexists(path) or not is_volume(path):
        return None
    stores = (path.with_name(name) for name in store_names(path.name))
    return next((store for store in stores if store.is_file() and original_of(store) == path.name), None)


def store_names(name: str) -> tuple[str, str]:
    """Return the two possible names of the store of a NIfTI file, the shorter one first.

    Examples
    --------
    >>> store_names("a.1.nii.gz")
    ('a.1.ozx', 'a.1.nii.gz.ozx')
    """
    stem = name[:-3] if name.lower().endswith(".gz") else name
    return Path(stem).stem + SUFFIX, name + SUFFIX
