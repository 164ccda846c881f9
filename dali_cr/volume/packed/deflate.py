"""Decompress zlib streams from compiled code, with ISA-L from the `isal` wheel.

ISA-L's `isal_inflate_stateless` takes a state whose first fields are the output and input pointers. Source:
https://github.com/intel/isa-l/blob/master/include/igzip_lib.h, `struct inflate_state`.
"""

from __future__ import annotations

from ctypes import CDLL  # not the module: compiled functions use an attribute of its name
from typing import Any

import numpy as np

from dali_cr.system.compiled import Compiled, compiled
from dali_cr.system.external import External
from dali_cr.volume.packed.lz4 import Bytes, address

STATE_BYTES = 1 << 18
"""Upper bound of the size of the state, which holds tables and a window of the output."""

_NEXT_OUT, _AVAILABLE_OUT, _TOTAL_OUT, _NEXT_IN, _READ_IN, _AVAILABLE_IN, _READ_LENGTH = 0, 8, 12, 16, 24, 32, 36
"""Byte offsets of the fields of the state."""

_HEADER, _CHECKSUM = 2, 4
"""Bytes before and after the DEFLATE stream; the zlib checksum is ignored, because bricks have a CRC32C."""


def _library() -> CDLL:
    from isal import isal_zlib

    return CDLL(isal_zlib.__file__)


C_FUNCTION = External("isal_inflate_stateless", _library, "int32", "int64")


@compiled
def _decompress_by_c(source: Bytes, at: int, size: int, target: Bytes, to: int, capacity: int, state: Bytes) -> Any:
    """Implement `decompress_zlib` with the C function."""
    if size < _HEADER + _CHECKSUM or source[at] & 15 != 8 or source[at + 1] & 32:
        return np.int64(-1)
    words, halves = state.view(np.int64), state.view(np.uint32)
    words[_NEXT_OUT // 8], words[_NEXT_IN // 8], words[_READ_IN // 8] = address(target, to), address(source, at + 2), 0
    halves[_AVAILABLE_OUT // 4], halves[_TOTAL_OUT // 4] = capacity, 0
    halves[_AVAILABLE_IN // 4], halves[_READ_LENGTH // 4] = size - _HEADER - _CHECKSUM, 0
    if C_FUNCTION(address(state, 0)) != 0:
        return np.int64(-1)
    return np.int64(capacity) - np.int64(halves[_AVAILABLE_OUT // 4])


@compiled
def _unavailable(source: Bytes, at: int, size: int, target: Bytes, to: int, capacity: int, state: Bytes) -> Any:
    return np.int64(-1)


decompress_zlib: Compiled[Any] = _decompress_by_c if C_FUNCTION.exists() else _unavailable
"""Decompress a zlib stream of `size` bytes at `source[at]` to at most `capacity` bytes at `target[to]`.

`state` is a buffer of `STATE_BYTES`, initially 0. Returns the number of bytes, or a negative number if the stream is
invalid or the library is missing. Never reads or writes out of bounds.
"""
