"""Write PNG files of any bit depth, byte by byte."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, interlace: int = 0) -> bytes:
    """Return the bytes of a PNG, also of types that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_png(path: Path, numbers: np.ndarray, depth: int) -> Path:
    """Write a grey PNG of 1, 2, 4, 8 or 16 bits per pixel, not scaled."""
    bits = numbers.astype(np.int64)[:, :, None] >> np.arange(depth)[::-1] & 1
    rows = b"".join(b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits)
    path.write_bytes(png(numbers.shape[1], numbers.shape[0], depth, 0, rows))
    return path
