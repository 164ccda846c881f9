"""Encode bricks as Blosc-1 chunks of one block: LZ4-compressed byte planes, or one zlib stream.

Header: ``02 01 flags typesize``, then three int32 (uncompressed bytes, block size, compressed bytes), then the int32
offset of the block. Each stream in the block is an int32 length followed by its bytes; a stream as long as its content
is stored uncompressed. Flags: 1 byte shuffle, 2 the whole chunk is stored, 4 bit shuffle, 16 one stream instead of one
per byte plane, bits 5 to 7 the format. Source: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal, NamedTuple

import lz4.block
import numpy as np
import numpy.typing as npt

SHUFFLED, STORED, BIT_SHUFFLED, ONE_STREAM = 1, 2, 4, 16
FORMATS, FORMAT_LZ4, FORMAT_ZLIB = 7 << 5, 1 << 5, 3 << 5
VERSION = 2

_HEADER = struct.Struct("<BBBBiii")
_FIRST_BLOCK = _HEADER.size + 4
_FORMAT_VERSION = 1


class Coding(NamedTuple):
    """Compression settings of bricks.

    Attributes
    ----------
    name : "lz4hc" or "zlib"
        Name in Zarr's `blosc` codec.
    level : int
        1 to 12 for LZ4HC, 1 to 9 for zlib.
    shuffle : bool
        Byte shuffle: the first bytes of all voxels, then the second bytes, and so on, each as a separate stream.
    """

    name: Literal["lz4hc", "zlib"]
    level: int
    shuffle: bool


def encode_brick(brick: npt.NDArray[Any], coding: Coding) -> bytes:
    """Compress a brick.

    Parameters
    ----------
    brick : array of `BRICK_VOXELS` voxels, little-endian, C-contiguous
    coding : Coding

    Returns
    -------
    chunk : bytes
        At most as long as the uncompressed brick and a header.
    """
    size, typesize = brick.nbytes, brick.dtype.itemsize
    content = brick.reshape(-1).view(np.uint8)
    streams = np.ascontiguousarray(content.reshape(-1, typesize).T) if coding.shuffle else content[None]
    block = b"".join(_stream(stream, coding) for stream in streams)
    total = _FIRST_BLOCK + len(block)
    flags = FORMAT_LZ4 if coding.name == "lz4hc" else FORMAT_ZLIB
    if total > _HEADER.size + size:
        total, flags, block = _HEADER.size + size, flags | STORED, content.tobytes()
    else:
        flags |= SHUFFLED if coding.shuffle else ONE_STREAM
        block = struct.pack("<i", _FIRST_BLOCK) + block
    return _HEADER.pack(VERSION, _FORMAT_VERSION, flags, typesize, size, size, total) + block


def _stream(content: npt.NDArray[np.uint8], coding: Coding) -> bytes:
    """Return one compressed stream, preceded by its length."""
    if coding.name == "zlib":
        packed = zlib.compress(content.data, coding.level)
    else:
        packed = lz4.block.compress(content.data, "high_compression", compression=coding.level, store_size=False)
    if len(packed) >= content.size:
        packed = content.tobytes()
    return struct.pack("<i", len(packed)) + packed
