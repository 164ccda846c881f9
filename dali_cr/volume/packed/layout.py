"""Read the layout of a brick store from its ZIP directory, JSON documents and table of bricks."""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from dali_cr.volume.access import check_unchanged, fill, opened
from dali_cr.volume.geometry import Geometry, Triple, VolumeError
from dali_cr.volume.packed.bricks import BRICK_VOXELS, brick_counts
from dali_cr.volume.packed.contents import Description
from dali_cr.volume.packed.metadata import ARRAY, GROUP, SHARD, parse_array, parse_group

SUFFIX = ".ozx"
CHECKSUM_BYTES = 4

_LAYOUTS = 1 << 16
"""Number of stores whose layout is kept in memory."""

_LOCAL_HEADER = 30
_MOST_TEXT = 1 << 20
"""Largest JSON document that is read, in bytes."""

_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that zipfile, json and the parsers below raise on damaged files."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Layout of a brick store, without the positions of single bricks.

    Attributes
    ----------
    description : Description
    geometry : Geometry
        Geometry of the decompressed content: channel by channel in C order.
    brick : (3,) int
        Shape of the bricks.
    shard, shard_bytes : int
        Offset of the bricks in the file, and the bytes of the bricks and their table.
    """

    description: Description
    geometry: Geometry
    brick: Triple
    shard: int
    shard_bytes: int


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of a brick store."""
    return os.fspath(path).lower().endswith(SUFFIX)


@lru_cache(_LAYOUTS)
def read_layout(path: Path, size: int, mtime_ns: int) -> Layout:
    """Read the layout of a brick store; results are cached.

    Parameters
    ----------
    path : Path
    size, mtime_ns : int
        Expected size and modification time of the file.

    Raises
    ------
    VolumeError
        If it is not a brick store, is truncated or damaged, or has changed.
    """
    with opened(path) as descriptor:
        check_unchanged(path, os.fstat(descriptor), size, mtime_ns)
        with damage_as_error(path), open(descriptor, "rb", closefd=False) as file, zipfile.ZipFile(file) as archive:
            description = parse_group(_text(archive, GROUP))
            dtype, shape, brick = parse_array(_text(archive, ARRAY))
            entry = _stored(archive, SHARD)
            length = os.pread(descriptor, 2, size - len(archive.comment) - 2)
            if length != len(archive.comment).to_bytes(2, "little"):
                raise ValueError("it ends early")  # zipfile accepts a truncated comment
            shard = entry.header_offset + _LOCAL_HEADER + sum(_lengths(path, descriptor, entry.header_offset))
            if shard + entry.file_size > size:
                raise ValueError("its bricks go beyond the end of the file")
            return Layout(description, description.geometry(dtype, shape), brick, shard, entry.file_size)


@contextmanager
def damage_as_error(path: Path) -> Iterator[None]:
    """Raise parsing errors of a store as VolumeError."""
    try:
        yield
    except VolumeError:
        raise
    except _ERRORS as error:
        raise VolumeError(path, f"brick store that cannot be read: {error or type(error).__name__}") from error


def _stored(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
        raise ValueError(f"entry {name}: expected a stored entry, got a compressed or encrypted one")
    return entry


def _text(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = _stored(archive, name)
    if entry.file_size > _MOST_TEXT:
        raise ValueError(f"entry {name}: expected at most {_MOST_TEXT} bytes, got {entry.file_size}")
    return archive.read(entry)


def _lengths(path: Path, descriptor: int, offset: int) -> tuple[int, int]:
    """Return the lengths of an entry's name and extra field, which precede its content."""
    header = bytearray(_LOCAL_HEADER)
    fill(path, descriptor, memoryview(header), offset)
    name, extra = struct.unpack_from("<HH", header, _LOCAL_HEADER - 4)
    return name, extra


def read_table(path: Path, descriptor: int, layout: Layout) -> npt.NDArray[np.int64]:
    """Read and validate the table of bricks.

    Returns
    -------
    table : (C, bricks_d, bricks_h, bricks_w, 2) int64
        Offset in the shard and size of each brick with its checksum; -1 for an empty brick.

    Raises
    ------
    VolumeError
        If the table is damaged.
    """
    counts = (layout.geometry.frames, *brick_counts(layout.geometry.shape, layout.brick))
    length = 16 * math.prod(counts) + CHECKSUM_BYTES
    with damage_as_error(path):
        if length > layout.shard_bytes:
            raise ValueError(f"table of bricks: expected {length} bytes, got {layout.shard_bytes}")
        content = memoryview(bytearray(length))
        fill(path, descriptor, content, layout.shard + layout.shard_bytes - length)
        if not has_checksum(content):
            raise ValueError("table of bricks: its checksum is wrong")
        table = np.frombuffer(content[:-CHECKSUM_BYTES], "<i8").astype(np.int64).reshape(*counts, 2)
        offsets, sizes = table[..., 0], table[..., 1]
        empty = (offsets == -1) & (sizes == -1)
        fits = (offsets >= 0) & (sizes > CHECKSUM_BYTES) & (sizes <= most_bytes(layout.geometry.itemsize))
        if not (empty | fits & (offsets <= layout.shard_bytes - length - sizes)).all():
            raise ValueError("table of bricks: expected offsets inside the shard and valid sizes, got others")
    return table


def most_bytes(itemsize: int) -> int:
    """Return the largest possible size of a compressed brick with its checksum, in bytes."""
    return 20 + itemsize * (BRICK_VOXELS + 4) + CHECKSUM_BYTES


def has_checksum(content: memoryview) -> bool:
    """Whether the last four bytes are the CRC32C of the bytes before them."""
    (expected,) = struct.unpack("<I", content[-CHECKSUM_BYTES:])
    return bool(google_crc32c.value(bytes(content[:-CHECKSUM_BYTES])) == expected)
