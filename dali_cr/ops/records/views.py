"""Records of views, which `gather_views` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dali_cr.ops.records.layout import CLAMPED, NEAREST, TRILINEAR, VIEW_RECORD, Words
from dali_cr.ops.records.rescale import Rescale, new_record


def make_gather_record(
    *,
    dtype: str,
    big_endian: bool,
    first_byte: int,
    itemsize: int,
    strides: Sequence[int],
    lo: Sequence[int],
    hi: Sequence[int],
    rescale: Rescale,
    matrix: npt.ArrayLike,
    offset: npt.ArrayLike,
    nearest: bool = False,
    clamped: bool = False,
    in_arena: bool = False,
) -> Words:
    """Return the record of one channel of one view.

    Parameters
    ----------
    dtype, big_endian, first_byte, itemsize, strides, rescale, in_arena
        As in `dali_cr.ops.records.crops.make_record`.
    lo, hi : (3,) int
        First available canonical voxel, and one past the last.
    matrix : (3, 3) float
    offset : (3,) float
        ``matrix @ (d, h, w) + offset`` is the canonical position of output voxel (d, h, w).
    nearest : bool
        Use the nearest voxel (halves are rounded up) instead of interpolation.
    clamped : bool
        Clamp sources at the edges; then [lo, hi) must extend to the edges of the volume where sources leave it.

    Returns
    -------
    record : (32,) int64

    Raises
    ------
    ValueError
        If the item size does not match the dtype, or both `nearest` and `clamped` are true.
    """
    record = new_record(
        VIEW_RECORD, dtype=dtype, itemsize=itemsize, big_endian=big_endian, rescale=rescale, in_arena=in_arena
    )
    if nearest and clamped:
        raise ValueError("nearest, clamped: expected at most one of them, got both")
    record["start"], record["strides"], record["lo"], record["hi"] = first_byte, strides, lo, hi
    record["mode"] = CLAMPED if clamped else NEAREST if nearest else TRILINEAR
    record["matrix"], record["offset"] = matrix, offset
    return record.view(np.int64)


def place_views(
    words: Words,
    firsts: Words,
    strides: Words,
    boxes: Words,
    matrices: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.float64],
    mode: int | Words = TRILINEAR,
) -> None:
    """Write the positions of the voxels of views and their affine maps into the records.

    Parameters
    ----------
    words : (B, V, C, 32) int64
        Records with all other fields set.
    firsts : (B, C) int64
    strides : (B, C, 3) int64
        As for `dali_cr.ops.records.crops.place_crops`.
    boxes : (B, 2, 3) int64
        First available canonical voxel, and one past the last.
    matrices : (B, V, 3, 3) float64
    offsets : (B, V, 3) float64
    mode : TRILINEAR, NEAREST or CLAMPED
    """
    records = words.view(VIEW_RECORD)[..., 0]
    records["start"], records["strides"] = firsts[:, None], strides[:, None]
    records["lo"], records["hi"] = boxes[:, None, None, 0], boxes[:, None, None, 1]
    records["matrix"], records["offset"] = matrices[:, :, None], offsets[:, :, None]
    records["mode"] = mode
