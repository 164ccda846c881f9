"""Records of crops, which `decode_volume` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dali_cr.ops.records.layout import RECORD, Words
from dali_cr.ops.records.rescale import Rescale, new_record
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple


def make_record(
    *,
    dtype: str,
    big_endian: bool,
    first_byte: int,
    itemsize: int,
    strides: Sequence[int],
    origin: Sequence[int],
    flips: Sequence[bool],
    crop: Triple,
    shape: Triple,
    rescale: Rescale,
    in_arena: bool = False,
) -> Words:
    """Return the record of one channel of a crop.

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    big_endian : bool
    first_byte : int
        Byte offset of canonical voxel (0, 0, 0) of the whole volume in the sample's row; may be virtual.
    itemsize : int
    strides : (3,) int
        Signed, in elements, along canonical (D, H, W).
    origin : (3,) int
        Canonical origin of the crop; negative if the crop exceeds the volume.
    flips : (3,) bool
    crop, shape : (3,) int
        Shapes of the crop and of the volume.
    rescale : Rescale
    in_arena : bool
        Whether `first_byte` is an offset in the arena instead of the sample's row.

    Returns
    -------
    record : (16,) int64

    Raises
    ------
    ValueError
        If the item size does not match the dtype.
    """
    record = new_record(
        RECORD, dtype=dtype, itemsize=itemsize, big_endian=big_endian, rescale=rescale, in_arena=in_arena
    )
    words: Words = record.view(np.int64)
    place_crops(
        words[None, None],
        np.full((1, 1), first_byte, np.int64),
        np.array(strides, np.int64).reshape(1, 1, 3),
        np.full((1, 1), itemsize, np.int64),
        np.array(origin, np.int64).reshape(1, 3),
        np.array(flips, np.bool_).reshape(1, 3),
        (int(crop[0]), int(crop[1]), int(crop[2])),
        np.array(shape, np.int64).reshape(1, 3),
    )
    return words


@compiled
def place_crops(
    words: Words,
    firsts: Words,
    strides: Words,
    itemsizes: Words,
    origins: Words,
    flips: npt.NDArray[np.bool_],
    crop: Triple,
    shapes: Words,
) -> None:
    """Write the positions of the voxels of crops into their records.

    Parameters
    ----------
    words : (B, C, 16) int64
        Records with all other fields set.
    firsts : (B, C) int64
        Byte offset of canonical voxel (0, 0, 0) of each volume; may be virtual.
    strides : (B, C, 3) int64
        Signed, in elements, along canonical (D, H, W).
    itemsizes : (B, C) int64
    origins : (B, 3) int64
    flips : (B, 3) bool
    crop : (3,) int
    shapes : (B, 3) int64
        Shapes of the volumes.
    """
    for b in range(words.shape[0]):
        for c in range(words.shape[1]):
            record = words[b, c]
            record[0] = firsts[b, c]
            for axis in range(3):
                start, edge, stride = origins[b, axis], crop[axis], strides[b, c, axis]
                lo, hi = max(0, -start), min(edge, shapes[b, axis] - start)
                if flips[b, axis]:
                    lo, hi, start, stride = edge - hi, edge - lo, start + edge - 1, -stride
                record[0] += itemsizes[b, c] * strides[b, c, axis] * start
                record[2 + axis], record[5 + axis], record[8 + axis] = stride, lo, hi
