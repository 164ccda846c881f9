"""Decompress gzip streams by igzip, the fastest decompressor; a stream can only be read from its start."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import VolumeError

MAX_REST = 1 << 20
"""Bytes that may follow the last voxel: some programs write a footer, but a gzip bomb is longer."""

# isal's type stubs do not declare them as they are used here.
_Decompressor: Any = isal_zlib._GzipReader
_IsalError: Any = isal_zlib.error


def unpack_start(path: Path, packed: bytes, size: int) -> bytes:
    """Decompress the first `size` bytes of a stream, or fewer if it is shorter.

    Raises
    ------
    VolumeError
        If the stream is damaged.
    """
    start = bytearray(size)
    return bytes(start[: _decompress(path, _Decompressor(packed), memoryview(start))])


def unpack(path: Path, packed: memoryview, stop: int, *, to_end: bool = False) -> npt.NDArray[np.uint8]:
    """Decompress the first `stop` bytes of a stream directly into memory of this thread.

    Parameters
    ----------
    path : Path
        For messages.
    packed : memoryview
    stop : int
    to_end : bool
        Check also the rest of the stream and its CRC.

    Returns
    -------
    data : (stop,) uint8
        Valid until this thread reads again.

    Raises
    ------
    VolumeError
        If the stream is damaged, too short, or too long.
    """
    target = scratch("decompressed", stop)
    reader = _Decompressor(packed)
    got = _decompress(path, reader, target)
    if got < stop:
        raise VolumeError(path, f"ends early: its header declares {stop} bytes, the stream holds {got}")
    rest = _decompress(path, reader, scratch("rest", MAX_REST + 1)) if to_end else 0
    if rest > MAX_REST:
        raise VolumeError(path, f"its header declares {stop} bytes, the stream has over {MAX_REST} bytes more")
    return np.frombuffer(target, np.uint8)


def _decompress(path: Path, reader: Any, target: memoryview) -> int:
    """Decompress until `target` is full or the stream ends; return the number of bytes."""
    done = 0
    try:
        while done < len(target):
            got = reader.readinto(target[done:])
            if not got:
                break
            done += got
    except (EOFError, OSError, zlib.error, _IsalError) as error:
        raise VolumeError(path, f"damaged gzip stream: {error}") from error
    return done
