"""`write_store`: voxels cut into bricks, compressed, and written as one file, whole or not at all."""

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
"""Of LZ4HC: for shuffled bytes; and for those that are not, where a higher one gains much."""

_TRIED, _TRIED_ZLIB, _TRIED_LEVEL = 24, 8, 5
"""Bricks by which it is decided how to compress, and at what level they are tried."""

_WORTH = 1.25
"""Where zlib is so much smaller than LZ4 it is taken: it takes three times as long to decompress."""

EMPTY = 2**64 - 1
"""In the table, offset and size of a brick whose bits are all 0: it takes no bytes."""


def write_store(path: str | os.PathLike[str], contents: StoreContents, level: int = LEVEL) -> int:
    """Write a brick store, read it back and compare; a reader sees a whole file or none.

    Parameters
    ----------
    path : path
        Ends on ".ozx"; its folder must exist. ``NAME.part`` beside it is written first.
    contents : StoreContents
    level : int
        Of LZ4HC, 1 to 12.

    Returns
    -------
    size : int
        Bytes of the file.

    Raises
    ------
    OSError
        If it cannot be written; then the file is as it was.
    VolumeError
        If what is read back is not what was written; likewise.

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
    """Read a store back, its checksums and its voxels, a slab of bricks at a time."""
    store = Store(path)
    store.verify()
    _, depth, height, width = contents.voxels.shape
    edge = store.layout.brick[0]
    for channel, voxels in enumerate(contents.voxels):
        for first in range(0, depth, edge):
            wanted = np.ascontiguousarray(voxels[first : first + edge], voxels.dtype.newbyteorder("<"))
            found = np.frombuffer(scratch("compared", wanted.nbytes), np.uint8)
            store.read_box(channel, (first, 0, 0), (first + len(wanted), height, width), found)
            if not np.array_equal(found, wanted.reshape(-1).view(np.uint8)):
                raise VolumeError(path, "other voxels are read from it than were written; check disk and memory")


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
    """Return how to compress a volume: what makes some of its bricks, drawn at random, smallest."""
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
    """Yield the bricks one after the other, each with its checksum, then the table of where they lie."""
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
    """Return a brick, little-endian and padded with 0; None where all its bits are 0 (-0.0 has one)."""
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
