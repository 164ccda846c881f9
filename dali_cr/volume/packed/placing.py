"""Copy the part of a brick that lies in a box, and unshuffle its bytes, in compiled code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled
from dali_cr.system.external import External, libc
from dali_cr.volume.geometry import Triple
from dali_cr.volume.packed.lz4 import Bytes, address

_memset = External("memset", libc, "int64", "int64", "int32", "int64")
memcpy = External("memcpy", libc, "int64", "int64", "int64", "int64")


@compiled
def place_brick(
    planes: Bytes,
    shuffled: bool,
    brick: Triple,
    itemsize: int,
    corner: Triple,
    start: Triple,
    stop: Triple,
    out: Bytes,
) -> None:
    """Copy the part of a brick that lies in a box; write 0 if `planes` is empty."""
    low = (max(corner[0], start[0]), max(corner[1], start[1]), max(corner[2], start[2]))
    d1, h1 = min(corner[0] + brick[0], stop[0]), min(corner[1] + brick[1], stop[1])
    width = min(corner[2] + brick[2], stop[2]) - low[2]
    voxels = brick[0] * brick[1] * brick[2]
    words, doubles, quads = _as_words(out)
    for d in range(low[0], d1):
        for h in range(low[1], h1):
            to = ((d - start[0]) * (stop[1] - start[1]) + h - start[1]) * (stop[2] - start[2]) + low[2] - start[2]
            at = ((d - corner[0]) * brick[1] + h - corner[1]) * brick[2] + low[2] - corner[2]
            if planes.size == 0:
                _memset(address(out, to * itemsize), 0, width * itemsize)
            elif not shuffled:
                memcpy(address(out, to * itemsize), address(planes, at * itemsize), width * itemsize)
            elif itemsize == 2:
                _interleave2(planes, np.uint64(at), np.uint64(voxels), words, np.uint64(to), np.uint64(width))
            elif itemsize == 4:
                _interleave4(planes, np.uint64(at), np.uint64(voxels), doubles, np.uint64(to), np.uint64(width))
            else:
                _interleave8(planes, np.uint64(at), np.uint64(voxels), quads, np.uint64(to), np.uint64(width))


@compiled
def _as_words(out: Bytes) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """Return views of memory as numbers of 2, 4 and 8 bytes."""
    return (
        out[: out.size // 2 * 2].view(np.uint16),
        out[: out.size // 4 * 4].view(np.uint32),
        out[: out.size // 8 * 8].view(np.uint64),
    )


@compiled
def _interleave2(planes: Bytes, at: int, step: int, out: npt.NDArray[np.uint16], to: int, width: int) -> None:
    """Interleave the byte planes of a row of voxels; indices are unsigned so that the loop is vectorised."""
    kind, byte = np.uint16, np.uint16(8)
    for i in range(width):
        out[to + i] = kind(planes[at + i]) | kind(planes[at + i + step]) << byte


@compiled
def _interleave4(planes: Bytes, at: int, step: int, out: npt.NDArray[np.uint32], to: int, width: int) -> None:
    kind, byte = np.uint32, np.uint32(8)
    second, third, fourth = at + step, at + step + step, at + step + step + step
    for i in range(width):
        value = kind(planes[fourth + i]) << byte | kind(planes[third + i])
        out[to + i] = (value << byte | kind(planes[second + i])) << byte | kind(planes[at + i])


@compiled
def _interleave8(planes: Bytes, at: int, step: int, out: npt.NDArray[np.uint64], to: int, width: int) -> None:
    for i in range(width):
        value = np.uint64(0)
        plane = at + step * np.uint64(7) + i
        for _ in range(8):
            value = value << np.uint64(8) | np.uint64(planes[plane])
            plane -= step
        out[to + i] = value
