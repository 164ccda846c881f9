"""Read the voxels of a box in one compiled call without the GIL: read, decompress and unshuffle its bricks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled
from dali_cr.system.external import External, libc
from dali_cr.volume.geometry import Triple
from dali_cr.volume.packed.codec import (
    BIT_SHUFFLED,
    FORMAT_LZ4,
    FORMAT_ZLIB,
    FORMATS,
    ONE_STREAM,
    SHUFFLED,
    STORED,
    VERSION,
)
from dali_cr.volume.packed.deflate import decompress_zlib
from dali_cr.volume.packed.lz4 import Bytes, address, decompress
from dali_cr.volume.packed.placing import Starts, clear_brick, memcpy, place_brick

Table = npt.NDArray[np.int64]

READ, ENDED, LENGTHS, KIND, DAMAGED, TOO_LONG = range(-1, -7, -1)
REASONS = {
    READ: "cannot be read",
    ENDED: "the file ends early",
    LENGTHS: "damaged: its lengths do not fit",
    KIND: "expected LZ4 or zlib in one block, without bit shuffle; got another compression",
    DAMAGED: "damaged LZ4 block or zlib stream",
    TOO_LONG: "longer than a brick can be",
}
"""Messages for the negative error codes of `read_bricks`."""

_pread = External("pread", libc, "int64", "int32", "int64", "int64", "int64")


@compiled
def read_bricks(
    descriptor: int,
    shard: int,
    table: Table,
    brick: Triple,
    itemsize: int,
    start: Triple,
    stop: Triple,
    memory: Bytes,
    state: Bytes,
    out: Bytes,
) -> tuple[int, int]:
    """Read the raw voxels of a box of one channel.

    Parameters
    ----------
    descriptor : int
        Descriptor of the open file.
    shard : int
        Offset of the bricks in the file, in bytes.
    table : (bricks_d, bricks_h, bricks_w, 2) int64
        Offset in the shard and size of each brick with its checksum; -1 for an empty brick.
    brick : (3,) int
        Shape of a brick.
    itemsize : int
        1, 2, 4 or 8.
    start, stop : (3,) int
        The box, inside the volume.
    memory : (n,) uint8
        Scratch memory for one decompressed brick, followed by at least one compressed brick; adjacent bricks that fit
        are read together.
    state : (STATE_BYTES,) uint8
        Scratch memory for zlib, initially 0.
    out : (voxels of the box * itemsize,) uint8
        Receives the voxels in C order.

    Returns
    -------
    code : int
        0, or a key of `REASONS`.
    number : int
        Number of the failed brick, in C order.
    """
    bricks = _list_bricks(table, brick, itemsize, start, stop, out)
    voxels = brick[0] * brick[1] * brick[2]
    packed = memory[voxels * itemsize :]
    starts = np.empty(8, np.uint64)
    first = 0
    while first < len(bricks):
        begin, end = bricks[first, 0], bricks[first, 0] + bricks[first, 1]
        last = first + 1
        while last < len(bricks) and bricks[last, 0] == end and end + bricks[last, 1] - begin <= packed.size:
            end += bricks[last, 1]
            last += 1
        if end - begin > packed.size:
            return TOO_LONG, _number(table, bricks[first])
        code = _read(descriptor, shard + begin, packed[: end - begin])
        if code < 0:
            return code, _number(table, bricks[first])
        for i in range(first, last):
            at = voxels * itemsize + bricks[i, 0] - begin
            code = _decode(memory, at, bricks[i, 1] - 4, voxels, itemsize, state, starts)
            if code < 0:
                return code, _number(table, bricks[i])
            corner = (bricks[i, 2] * brick[0], bricks[i, 3] * brick[1], bricks[i, 4] * brick[2])
            place_brick(memory, starts, code == SHUFFLED, brick, itemsize, corner, start, stop, out)
        first = last
    return 0, 0


@compiled
def _number(table: Table, row: npt.NDArray[np.int64]) -> Any:
    return (row[2] * table.shape[1] + row[3]) * table.shape[2] + row[4]


@compiled
def _list_bricks(table: Table, brick: Triple, itemsize: int, start: Triple, stop: Triple, out: Bytes) -> Table:
    """Return offset, size and index (d, h, w) of the non-empty bricks of a box; write 0 for the empty ones."""
    d0, h0, w0 = start[0] // brick[0], start[1] // brick[1], start[2] // brick[2]
    d1, h1, w1 = -(-stop[0] // brick[0]), -(-stop[1] // brick[1]), -(-stop[2] // brick[2])
    bricks = np.empty(((d1 - d0) * (h1 - h0) * (w1 - w0), 5), np.int64)
    count = 0
    for d in range(d0, d1):
        for h in range(h0, h1):
            for w in range(w0, w1):
                if table[d, h, w, 0] < 0:
                    clear_brick(brick, itemsize, (d * brick[0], h * brick[1], w * brick[2]), start, stop, out)
                    continue
                bricks[count, 0], bricks[count, 1] = table[d, h, w, 0], table[d, h, w, 1]
                bricks[count, 2], bricks[count, 3], bricks[count, 4] = d, h, w
                count += 1
    return bricks[:count]


@compiled
def _read(descriptor: int, at: int, target: Bytes) -> int:
    """Read from a file until `target` is full; return 0 or a key of `REASONS`."""
    done = 0
    while done < target.size:
        got = _pread(descriptor, address(target, done), target.size - done, at + done)
        if got <= 0:
            return READ if got < 0 else ENDED
        done += got
    return 0


@compiled
def _int32(source: Bytes, at: int) -> Any:
    """Return four little-endian bytes as an unsigned number."""
    word = np.int64(source[at]) | np.int64(source[at + 1]) << 8
    return word | np.int64(source[at + 2]) << 16 | np.int64(source[at + 3]) << 24


@compiled
def _decode(memory: Bytes, first: int, length: int, voxels: int, itemsize: int, state: Bytes, starts: Starts) -> int:
    """Decompress the Blosc chunk `memory[first : first + length]` to the start of `memory`.

    Byte planes and voxels that are stored uncompressed are not copied.

    Parameters
    ----------
    starts : (8,) uint64
        Receives the offsets in `memory` of the byte planes, or of the voxels.

    Returns
    -------
    code : int
        `SHUFFLED` for byte planes, 0 for voxels, or a key of `REASONS`.
    """
    chunk = memory[first : first + length]
    size, header = voxels * itemsize, 16
    if length < header + 4 or _int32(chunk, 4) != size or _int32(chunk, 12) != length:
        return LENGTHS
    flags = chunk[2]
    if chunk[0] != VERSION or chunk[3] != itemsize or flags & BIT_SHUFFLED:
        return KIND
    if flags & STORED:
        starts[0] = first + header
        return 0 if length == header + size else LENGTHS
    zlib = flags & FORMATS == FORMAT_ZLIB
    if not zlib and flags & FORMATS != FORMAT_LZ4 or _int32(chunk, 8) != size:
        return KIND
    streams = 1 if flags & ONE_STREAM else itemsize
    capacity, shuffled = size // streams, flags & SHUFFLED and itemsize > 1
    at = _int32(chunk, header)
    for stream in range(streams):
        if at + 4 > length:
            return LENGTHS
        packed = _int32(chunk, at)
        at += 4
        if packed > length - at:
            return LENGTHS
        to = stream * capacity
        starts[stream] = to
        if packed == capacity and (shuffled or streams == 1):
            starts[stream] = first + at
        elif packed == capacity:
            memcpy(address(memory, to), address(memory, first + at), packed)
        elif not _decompress(memory, first + at, packed, to, capacity, zlib, state):
            return DAMAGED
        at += packed
    if not shuffled:
        return 0
    for plane in range(streams, itemsize):
        starts[plane] = starts[plane - 1] + voxels
    return SHUFFLED


@compiled
def _decompress(memory: Bytes, at: int, size: int, to: int, capacity: int, zlib: bool, state: Bytes) -> Any:
    """Decompress a stream; return whether it is valid and fills its plane."""
    if zlib:
        return decompress_zlib(memory, at, size, memory, to, capacity, state) == capacity
    return decompress(memory, at, size, memory, to, capacity) == capacity
