"""Records: the memory layout and scaling of a channel's raw voxels, as read by `decode` and `gather`.

A record has 16 int64 words for `decode_volume`, and 32 with an affine map for `gather_views`. `RECORD` and
`VIEW_RECORD` define the fields, `kernels/voxel.cuh` reads them in CUDA. DALI passes records as int64 arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import DTYPES, Triple

Words = npt.NDArray[np.int64]

_FIELDS: dict[str, tuple[Any, int]] = {
    "start": ("i8", 0),  # byte offset of voxel (0, 0, 0) in the sample's row or the arena; may be virtual
    "code": ("u1", 8),  # index in DTYPES
    "flags": ("u1", 9),  # BIG_ENDIAN | KEEP | IN_ARENA
    "strides": (("i8", 3), 16),  # signed, in elements
    "lo": (("i8", 3), 40),  # first index inside of the volume
    "hi": (("i8", 3), 64),  # one past the last index
    "scale": ("f8", 88),  # value = raw * scale + shift
    "shift": ("f8", 96),
    "low": ("f4", 104),  # values are clipped to [low, high]
    "high": ("f4", 108),
    "padding": ("f4", 112),  # padding value, also for NaN and Inf
    "mode": ("i8", 120),  # TRILINEAR, NEAREST or CLAMPED
}
_AFFINE: dict[str, tuple[Any, int]] = {"matrix": (("f8", (3, 3)), 128), "offset": (("f8", 3), 200)}


def _dtype(fields: dict[str, tuple[Any, int]], words: int) -> np.dtype[Any]:
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": 8 * words})


RECORD = _dtype(_FIELDS, 16)
"""Record of a crop: indices and strides are those of the crop, so that strides include flips."""

VIEW_RECORD = _dtype({**_FIELDS, **_AFFINE}, 32)
"""Record of a view: indices and strides are those of the volume; ``source = matrix @ (d, h, w) + offset``."""

RECORD_WORDS, VIEW_WORDS = 16, 32
BIG_ENDIAN, KEEP, IN_ARENA = 1, 2, 4
TRILINEAR, NEAREST, CLAMPED = 0, 1, 2

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Rescale:
    """The map from raw numbers to values: ``clip(raw * scale + shift, low, high)``, and the padding value.

    The padding value also replaces NaN and Inf, unless `keep` is true. Limits and padding value are stored as float32;
    a subnormal padding value becomes 0.
    """

    scale: float = 1.0
    shift: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    padding: float = 0.0
    keep: bool = False

    def __post_init__(self) -> None:
        # Round to float32 as in a record; rounding a float64 directly to float16 could give another value.
        with np.errstate(over="ignore"):
            padding = np.float32(self.padding)
        object.__setattr__(self, "padding", 0.0 if abs(padding) < _TINY else float(padding))


def describe(dtype: str, big_endian: bool, rescale: Rescale, record: npt.NDArray[Any]) -> None:
    """Write the fields of a record that do not depend on the position of the voxels.

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    big_endian : bool
    rescale : Rescale
    record : () of `RECORD` or `VIEW_RECORD`
    """
    record["code"] = DTYPES.index(dtype)
    record["flags"] = BIG_ENDIAN * big_endian | KEEP * rescale.keep
    for name in ("scale", "shift", "low", "high", "padding"):
        record[name] = getattr(rescale, name)


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
    _check_itemsize(dtype, itemsize)
    record = np.zeros((1, 1), RECORD)
    describe(dtype, big_endian, rescale, record[0, 0])
    record["flags"] |= IN_ARENA * in_arena
    words: Words = record.view(np.int64).reshape(1, 1, RECORD_WORDS)
    place_crops(
        words,
        np.full((1, 1), first_byte, np.int64),
        np.array(strides, np.int64).reshape(1, 1, 3),
        np.full((1, 1), itemsize, np.int64),
        np.array(origin, np.int64).reshape(1, 3),
        np.array(flips, np.bool_).reshape(1, 3),
        (int(crop[0]), int(crop[1]), int(crop[2])),
        np.array(shape, np.int64).reshape(1, 3),
    )
    result: Words = words[0, 0]
    return result


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
        As in `make_record`.
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
    _check_itemsize(dtype, itemsize)
    if nearest and clamped:
        raise ValueError("nearest, clamped: expected at most one of them, got both")
    record = np.zeros((), VIEW_RECORD)
    describe(dtype, big_endian, rescale, record)
    record["flags"] |= IN_ARENA * in_arena
    record["start"], record["strides"], record["lo"], record["hi"] = first_byte, strides, lo, hi
    record["mode"] = CLAMPED if clamped else NEAREST if nearest else TRILINEAR
    record["matrix"], record["offset"] = matrix, offset
    return record.reshape(1).view(np.int64)


def _check_itemsize(dtype: str, itemsize: int) -> None:
    if itemsize != np.dtype(dtype).itemsize:
        raise ValueError(f"itemsize: expected {np.dtype(dtype).itemsize} for {dtype}, got {itemsize}")


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
        As for `place_crops`.
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
