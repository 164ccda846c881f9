"""`write_store`: divide voxels into bricks, compress them, and write one file atomically."""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
import numpy.typing as npt

from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import Triple, VolumeError
from dali_cr.volume.packed.bricks import brick_counts, brick_shape
from dali_cr.volume.packed.codec import Coding, encode_brick
from dali_cr.volume.packed.contents import StoreContents
from dali_cr.volume.packed.deflate import C_FUNCTION
from dali_cr.volume.packed.metadata import ARRAY, COMMENT, GROUP, SHARD, array_document, group_document
from dali_cr.volume.packed.store import Store

LEVEL, PLAIN_LEVEL = 5, 12
"""Levels of LZ4HC: with byte shuffle, and without it, where a higher level gains much."""

_TRIED, _TRIED_ZLIB, _TRIED_LEVEL = 24, 8, 5
"""Numbers of sample bricks (LZ4, zlib) that are compressed to choose the compression, and the LZ4 level for them."""

_WORTH = 1.25
"""zlib is chosen if LZ4 is larger by this factor; zlib takes three times as long to decompress."""

EMPTY = 2**64 - 1
"""Offset and size in the table for a brick whose bits are all 0, which is not stored."""


def write_store(path: str | os.PathLike[str], contents: StoreContents, level: int = LEVEL) -> int:
    """Write a brick store atomically, after reading it back and comparing it.

    Parameters
    ----------
    path : path
        Path with the suffix ".ozx"; its folder must exist. The temporary file is ``NAME.part`` in the same folder.
    contents : StoreContents
    level : int
        Compression level of LZ4HC, 1 to 12.

    Returns
    -------
    size : int
        Size of the file in bytes.

    Raises
    ------
    OSError
        If the file cannot be written; an existing file stays unchanged.
    VolumeError
        If the file reads back differently; an existing file stays unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from dali_cr.volume.packed.contents import Original
    >>> voxels = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    >>> affine = tuple(map(tuple, np.eye(4).tolist()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.ozx")
    ...     original = Original("a.nii.gz", sha256=64 * "0", size=376, mtime_ns=0)
    ...     size = write_store(path, StoreContents(voxels=voxels, affine=affine, original=original))
    ...     size == path.stat().st_size
    True
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            _write_archive(file, contents, level)
            file.flush()
            os.fdatasync(file.fileno())
            size = file.tell()
        _compare(part, contents)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return size


def _compare(path: Path, contents: StoreContents) -> None:
    """Read a store back, one slab of bricks at a time, and compare checksums and voxels."""
    store = Store(path)
    store.verify()
    _, depth, height, width = contents.voxels.shape
    edge = store.layout.brick[0]
    for channel, voxels in enumerate(contents.voxels):
        for first in range(0, depth, edge):
            expected = np.ascontiguousarray(voxels[first : first + edge], voxels.dtype.newbyteorder("<"))
            found = np.frombuffer(scratch("compared", expected.nbytes), np.uint8)
            store.read_box(channel, (first, 0, 0), (first + len(expected), height, width), found)
            if not np.array_equal(found, expected.reshape(-1).view(np.uint8)):
                raise VolumeError(path, "expected the voxels that were written, read others; check disk and memory")


def _write_archive(file: Any, contents: StoreContents, level: int) -> None:
    brick = brick_shape(contents.voxels.shape[1:])
    coding = _choose(contents.voxels, brick, level)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = COMMENT
        archive.writestr(zipfile.ZipInfo(GROUP), group_document(contents))
        archive.writestr(zipfile.ZipInfo(ARRAY), array_document(contents, brick, coding))
        with archive.open(zipfile.ZipInfo(SHARD), "w", force_zip64=True) as shard:
            for piece in _shard(contents.voxels, brick, coding):
                shard.write(piece)


def _choose(voxels: npt.NDArray[Any], brick: Triple, level: int) -> Coding:
    """Choose the compression that makes a random sample of a volume's bricks smallest."""
    places = list(np.ndindex(len(voxels), *brick_counts(voxels.shape[1:], brick)))
    order = np.random.default_rng(0).permutation(len(places)).tolist()
    full = (content for i in order if (content := _cut(voxels[places[i][0]], brick, places[i][1:])) is not None)
    tried = list(islice(full, _TRIED))

    def size(name: Literal["lz4hc", "zlib"], shuffle: bool, most: int = _TRIED) -> int:
        return sum(len(encode_brick(content, Coding(name, _TRIED_LEVEL, shuffle))) for content in tried[:most])

    shuffle = voxels.dtype.itemsize > 1 and size("lz4hc", True) <= size("lz4hc", False)
    if C_FUNCTION.exists() and _WORTH * size("zlib", False, _TRIED_ZLIB) < size("lz4hc", shuffle, _TRIED_ZLIB):
        return Coding("zlib", 9, False)
    return Coding("lz4hc", level if shuffle else max(level, PLAIN_LEVEL), shuffle)


def _shard(voxels: npt.NDArray[Any], brick: Triple, coding: Coding) -> Iterator[bytes]:
    """Yield the bricks, each with its checksum, then the table of their offsets and sizes."""
    counts = brick_counts(voxels.shape[1:], brick)
    table = np.full((len(voxels), *counts, 2), EMPTY, "<u8")
    place = 0
    for index in np.ndindex(len(voxels), *counts):
        content = _cut(voxels[index[0]], brick, index[1:])
        if content is None:
            continue
        packed = _with_checksum(encode_brick(content, coding))
        table[index] = place, len(packed)
        place += len(packed)
        yield packed
    yield _with_checksum(table.tobytes())


def _cut(channel: npt.NDArray[Any], brick: Triple, index: Sequence[int]) -> npt.NDArray[Any] | None:
    """Return a brick, little-endian and padded with 0; None if all its bits are 0 (-0.0 has a bit set)."""
    inside = channel[tuple(slice(i * edge, (i + 1) * edge) for i, edge in zip(index, brick, strict=True))]
    little = np.ascontiguousarray(inside, inside.dtype.newbyteorder("<"))
    if not little.view(np.uint8).any():
        return None
    if little.shape == brick:
        return little
    whole = np.zeros(brick, little.dtype)
    whole[tuple(slice(0, length) for length in little.shape)] = little
    return whole


def _with_checksum(content: bytes) -> bytes:
    return content + struct.pack("<I", google_crc32c.value(content))
