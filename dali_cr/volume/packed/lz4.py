"""Decompress LZ4 blocks from compiled code: with the C library of the `lz4` wheel, or with loops if it is missing.

`LZ4_decompress_safe` is not a public interface of that wheel. Both implementations check every length and offset, and
accept the same blocks. Source of the format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from __future__ import annotations

from ctypes import CDLL  # not the module: compiled functions use an attribute of its name
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import Compiled, compiled
from dali_cr.system.external import External

Bytes = npt.NDArray[np.uint8]

_LAST_LITERALS = 5
"""Number of bytes at the end of a block that are always literals."""

_MATCH_LIMIT = 12
"""Smallest distance in bytes from the start of the last match to the end of the content."""


def _library() -> CDLL:
    from lz4.block import _block

    return CDLL(_block.__file__)


C_FUNCTION = External("LZ4_decompress_safe", _library, "int32", "int64", "int64", "int32", "int32")


@compiled
def address(memory: Bytes, at: int) -> Any:
    """Return the address of a byte; signed, because Numba adds signed and unsigned integers as floats."""
    return np.int64(memory.ctypes.data) + at


@compiled
def decompress_by_c(source: Bytes, at: int, size: int, target: Bytes, to: int, capacity: int) -> Any:
    """Implement `decompress` with the C function."""
    return C_FUNCTION(address(source, at), address(target, to), size, capacity)


@compiled
def decompress_by_loops(source: Bytes, at: int, size: int, target: Bytes, to: int, capacity: int) -> Any:
    """Implement `decompress` with plain loops."""
    end, limit, out = at + size, to + capacity, to
    while at < end:
        token = np.int64(source[at])
        at, length = _length(source, at + 1, end, token >> 4)
        if length > end - at or length > limit - out:
            return -1
        last = out + length > limit - _MATCH_LIMIT or at + length > end - (3 + _LAST_LITERALS)
        if last and at + length != end:
            return -1
        for i in range(length):
            target[out + i] = source[at + i]
        out += length
        if last:
            return out - to
        at += length
        offset = np.int64(source[at]) | np.int64(source[at + 1]) << 8
        at, length = _length(source, at + 2, end, token & 15)
        length += 4
        if offset == 0 or offset > out - to or length > limit - _LAST_LITERALS - out:
            return -1
        for i in range(length):
            target[out + i] = target[out + i - offset]
        out += length
    return -1


@compiled
def _length(source: Bytes, at: int, end: int, length: Any) -> tuple[Any, Any]:
    """Return the position after the bytes of a length, and the length; a huge length if the block ends early."""
    more: Any = 255 if length == 15 else 0
    while more == 255:
        if at >= end:
            return at, np.int64(1) << 62
        more = np.int64(source[at])
        length += more
        at += 1
    return at, length


decompress: Compiled[Any] = decompress_by_c if C_FUNCTION.exists() else decompress_by_loops
"""Decompress an LZ4 block of `size` bytes at `source[at]` to at most `capacity` bytes at `target[to]`.

Returns the number of bytes, or a negative number if the block is invalid. Never reads or writes out of bounds.
"""
