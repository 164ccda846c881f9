"""Copy the part of a brick that lies in a box, and unshuffle its bytes, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled
from dali_cr.system.external import External, libc
from dali_cr.volume.geometry import Triple
from dali_cr.volume.packed.lz4 import Bytes, address

Starts = npt.NDArray[np.uint64]

_memset = External("memset", libc, "int64", "int64", "int32", "int64")
memcpy = External("memcpy", libc, "int64", "int64", "int64", "int64")


@compiled
def place_brick(
    memory: Bytes,
    starts: Starts,
    shuffled: bool,
    brick: Triple,
    itemsize: int,
    corner: Triple,
    start: Triple,
    stop: Triple,
    out: Bytes,
) -> None:
    """Copy the part of a brick that lies in a box.

    Parameters
    ----------
    memory : (n,) uint8
        Holds the decompressed brick.
    starts : (8,) uint64
        Offsets in `memory` of the byte planes; of the voxels if they are not shuffled.
    shuffled : bool
    brick : (3,) int
        Shape of a brick.
    itemsize : int
    corner : (3,) int
        First voxel of the brick.
    start, stop : (3,) int
        The box.
    out : (voxels of the box * itemsize,) uint8
    """
    rows = _rows(brick, corner, start, stop)
    if not shuffled:
        _copy(memory, np.int64(starts[0]), itemsize, out, rows)
    elif itemsize == 2:
        _interleave2(memory, starts, out[: out.size // 2 * 2].view(np.uint16), rows)
    elif itemsize == 4:
        _interleave4(memory, starts, out[: out.size // 4 * 4].view(np.uint32), rows)
    else:
        _interleave8(memory, starts, out[: out.size // 8 * 8].view(np.uint64), rows)


@compiled
def clear_brick(brick: Triple, itemsize: int, corner: Triple, start: Triple, stop: Triple, out: Bytes) -> None:
    """Write 0 to the part of a box that a brick covers."""
    depth, height, width, to, to_slice, to_row, _, _, _ = _rows(brick, corner, start, stop)
    size: Any = np.int64(width) * itemsize
    for d in range(depth):
        for h in range(height):
            row = np.int64(to + d * to_slice + h * to_row)
            _memset(address(out, row * itemsize), 0, size)


@compiled
def _rows(brick: Triple, corner: Triple, start: Triple, stop: Triple) -> Any:
    """Return the rows of a brick that lie in a box; unsigned, so that loops over indices are vectorised.

    Returns
    -------
    depth, height, width : uint64
        Number of slices, rows per slice and voxels per row.
    to, to_slice, to_row : uint64
        First voxel in the box, and the distance to the next slice and row.
    at, at_slice, at_row : uint64
        The same in the brick.
    """
    d, h, w = max(corner[0], start[0]), max(corner[1], start[1]), max(corner[2], start[2])
    depth, height = min(corner[0] + brick[0], stop[0]) - d, min(corner[1] + brick[1], stop[1]) - h
    width = min(corner[2] + brick[2], stop[2]) - w
    to_row, at_row = stop[2] - start[2], brick[2]
    to_slice, at_slice = (stop[1] - start[1]) * to_row, brick[1] * at_row
    to = (d - start[0]) * to_slice + (h - start[1]) * to_row + w - start[2]
    at = (d - corner[0]) * at_slice + (h - corner[1]) * at_row + w - corner[2]
    kind = np.uint64
    size = (kind(depth), kind(height), kind(width))
    return size + (kind(to), kind(to_slice), kind(to_row), kind(at), kind(at_slice), kind(at_row))


@compiled
def _copy(memory: Bytes, first: int, itemsize: int, out: Bytes, rows: Any) -> None:
    """Copy rows of voxels that are not shuffled."""
    depth, height, width, to, to_slice, to_row, at, at_slice, at_row = rows
    size: Any = np.int64(width) * itemsize
    for d in range(depth):
        for h in range(height):
            target = np.int64(to + d * to_slice + h * to_row) * itemsize
            source = first + np.int64(at + d * at_slice + h * at_row) * itemsize
            memcpy(address(out, target), address(memory, source), size)


@compiled
def _interleave2(memory: Bytes, starts: Starts, out: npt.NDArray[np.uint16], rows: Any) -> None:
    """Interleave two byte planes."""
    depth, height, width, to, to_slice, to_row, at, at_slice, at_row = rows
    kind, byte = np.uint16, np.uint16(8)
    for d in range(depth):
        for h in range(height):
            target, source = to + d * to_slice + h * to_row, at + d * at_slice + h * at_row
            first, second = starts[0] + source, starts[1] + source
            for i in range(width):
                out[target + i] = kind(memory[first + i]) | kind(memory[second + i]) << byte


@compiled
def _interleave4(memory: Bytes, starts: Starts, out: npt.NDArray[np.uint32], rows: Any) -> None:
    """Interleave four byte planes."""
    depth, height, width, to, to_slice, to_row, at, at_slice, at_row = rows
    kind, byte = np.uint32, np.uint32(8)
    for d in range(depth):
        for h in range(height):
            target, source = to + d * to_slice + h * to_row, at + d * at_slice + h * at_row
            first, second = starts[0] + source, starts[1] + source
            third, fourth = starts[2] + source, starts[3] + source
            for i in range(width):
                value = kind(memory[fourth + i]) << byte | kind(memory[third + i])
                out[target + i] = (value << byte | kind(memory[second + i])) << byte | kind(memory[first + i])


@compiled
def _interleave8(memory: Bytes, starts: Starts, out: npt.NDArray[np.uint64], rows: Any) -> None:
    """Interleave eight byte planes, one after the other: eight at once are not vectorised."""
    depth, height, width, to, to_slice, to_row, at, at_slice, at_row = rows
    for d in range(depth):
        for h in range(height):
            target, source = to + d * to_slice + h * to_row, at + d * at_slice + h * at_row
            for i in range(width):
                out[target + i] = np.uint64(memory[starts[0] + source + i])
            for plane in range(1, 8):
                first, shift = starts[plane] + source, np.uint64(8 * plane)
                for i in range(width):
                    out[target + i] |= np.uint64(memory[first + i]) << shift
