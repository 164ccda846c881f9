"""Bricks as Blosc-1 chunks of one block: byte planes, each an LZ4 block or stored.

Header: ``02 01 flags typesize``, then int32 bytes, block size and compressed bytes, then the int32 offset of the block.
In the block each stream is an int32 length and as many bytes; a stream as long as its content is stored. Flags: 1 byte
shuffle, 2 the whole chunk is stored, 4 bit shuffle, 16 one stream in place of one a byte plane, bits 5 to 7 the
format. Source: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
"""

from __future__ import annotations

import struct
from typing import Any

import lz4.block
import numpy as np
import numpy.typing as npt

SHUFFLED, STORED, BIT_SHUFFLED, ONE_STREAM = 1, 2, 4, 16
FORMATS, FORMAT_LZ4 = 7 << 5, 1 << 5
VERSION = 2

_HEADER = struct.Struct("<BBBBiii")
_FIRST_BLOCK = _HEADER.size + 4
_LZ4_VERSION = 1


def encode_brick(brick: npt.NDArray[Any], level: int, shuffle: bool) -> bytes:
    """Compress a brick.

    Parameters
    ----------
    brick : of `BRICK_VOXELS` voxels, little-endian, C-contiguous
    level : int
        Of LZ4HC, 1 to 12.
    shuffle : bool
        Whether the first bytes of all voxels come first, then the second bytes, and so on.

    Returns
    -------
    chunk : bytes
        Not longer than the stored brick and its header.
    """
    size, typesize = brick.nbytes, brick.dtype.itemsize
    content = brick.reshape(-1).view(np.uint8)
    streams = np.ascontiguousarray(content.reshape(-1, typesize).T) if shuffle else content[None]
    block = b"".join(map(_stream, streams, [level] * len(streams)))
    total = _FIRST_BLOCK + len(block)
    if total > _HEADER.size + size:
        total, flags, block = _HEADER.size + size, STORED | FORMAT_LZ4, content.tobytes()
    else:
        flags, block = FORMAT_LZ4 | (SHUFFLED if shuffle else ONE_STREAM), struct.pack("<i", _FIRST_BLOCK) + block
    return _HEADER.pack(VERSION, _LZ4_VERSION, flags, typesize, size, size, total) + block


def _stream(content: npt.NDArray[np.uint8], level: int) -> bytes:
    """Return one stream with its length before it."""
    packed: bytes = lz4.block.compress(content.data, "high_compression", compression=level, store_size=False)
    if len(packed) >= content.size:
        packed = content.tobytes()
    return struct.pack("<i", len(packed)) + packed
