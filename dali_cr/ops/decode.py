"""`decode_volume`: raw file voxels, as they lie, to a normalised crop (kernels/decode.cu).

A record of 16 int64 words says for one channel of one sample where its voxels lie and what their numbers mean:

====== ===================================================================================
word   content
====== ===================================================================================
0      byte in the sample's row (or the arena) at which the voxel of output (0, 0, 0) lies (or would lie)
1      dtype code (place in `DTYPES`) | big-endian << 8 | keep NaN and Inf << 9 | in arena << 10
2-4    signed strides along output D, H, W, in elements
5-7    first output index along D, H, W that has a voxel
8-10   one past the last
11-12  bits of the float64 scale and shift: value = raw * scale + shift
13     bits of the float32 low (low half) and high (high half) that values are clipped to
14     bits of the float32 that stands outside of the volume and for NaN and Inf
15     0
====== ===================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.volume.geometry import DTYPES, Triple

RECORD_WORDS = 16
_BIG_ENDIAN, _KEEP, _IN_ARENA = 1 << 8, 1 << 9, 1 << 10
_TINY = np.finfo(np.float32).tiny
_SAFE = 1e-20
_TABLE_GAIN = 16
"""An entry of a table costs as much as so many voxels save by being looked up."""

_CACHED_VOXELS = 1 << 15
"""Converted at a time on the CPU, so that the float64 values in between stay in its cache."""

_SOURCES = ("common.cuh", "voxel.cuh", "decode.cu")
OUTPUTS: dict[str, launch.Defines] = {
    "float32": (("OUTPUT", "float"), ("STORE", "")),
    "float16": (("OUTPUT", "unsigned short"), ("STORE", "half_bits")),
}
"""What a kernel that decodes writes, and how."""

VARIANTS: tuple[launch.Variant, ...] = tuple(("decode_volume", _SOURCES, defines) for defines in OUTPUTS.values())


@dataclass(frozen=True)
class Affine:
    """What raw numbers become: ``clip(raw * scale + shift, low, high)``; `fill` where there is no finite one.

    All but `scale` and `shift` are kept as float32, a subnormal `fill` as 0. `keep` leaves NaN and Inf as they are.
    """

    scale: float = 1.0
    shift: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    fill: float = 0.0
    keep: bool = False

    def __post_init__(self) -> None:
        # As in a record: rounded to float16 straight from a float64, it could be another number.
        with np.errstate(over="ignore"):
            fill = np.float32(self.fill)
        object.__setattr__(self, "fill", 0.0 if abs(fill) < _TINY else float(fill))

    def __call__(self, raw: npt.NDArray[Any], out: npt.NDArray[np.float32]) -> None:
        """Convert raw voxels of any dtype and byte order, of the same shape as `out`."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = raw.astype(np.float64)
            if raw.dtype.kind == "f" and raw.dtype.itemsize == 4:
                value[np.abs(value) < _TINY] = 0.0
            finite = np.isfinite(value) if raw.dtype.kind == "f" and not self.keep else None
            value *= self.scale
            value += self.shift
            out[...] = value
        if raw.dtype.kind == "f" or self._may_underflow:
            out[np.abs(out) < _TINY] = 0.0
        if np.isfinite(self.low) or np.isfinite(self.high):
            np.clip(out, np.float32(self.low), np.float32(self.high), out=out)
        if finite is not None and not finite.all():
            out[~finite] = self.fill

    @property
    def _may_underflow(self) -> bool:
        """Whether an integer may become a float32 subnormal.

        Without a shift the smallest result is the scale; with one, a sum that is not 0 is at least 2**-53 of it.
        """
        return abs(self.scale) < _SAFE or 0 < abs(self.shift) < _SAFE


def decode_channel(
    raw: npt.NDArray[Any],
    affine: Affine,
    out: npt.NDArray[Any],
    span: tuple[int, int] | None = None,
    copy: npt.NDArray[Any] | None = None,
) -> None:
    """Convert one channel on the CPU, by a table where that is faster; the bits are those of `Affine.__call__`.

    Parameters
    ----------
    raw : (D, H, W) of the file's dtype and byte order, any strides
    affine : Affine
    out : (D, H, W) float32 or float16
    span : (low, high) int, optional
        The least and the greatest raw number of the volume, for integers. Any other becomes NaN, so that a file that
        is not what was scanned does not go unnoticed.
    copy : (D, H, W) as `out`, optional
        Gets the same, while it is in the processor's cache.
    """
    table = _make_table(raw, affine, span) if raw.dtype.itemsize <= 2 and raw.dtype.kind in "iu" else None
    planes = max(1, _CACHED_VOXELS // max(1, math.prod(raw.shape[1:])))
    for first in range(0, len(raw), planes):
        part, target = raw[first : first + planes], out[first : first + planes]
        values = target if target.dtype == np.float32 else np.empty(target.shape, np.float32)
        if table is None:
            affine(part, values)
        else:
            np.take(table, part.view(f"u{raw.dtype.itemsize}"), out=values, mode="wrap")
        if values is not target:
            target[...] = values
        if copy is not None:
            copy[first : first + planes] = target


def _make_table(raw: npt.NDArray[Any], affine: Affine, span: tuple[int, int] | None) -> npt.NDArray[np.float32] | None:
    """Return what each number of a span becomes, at the place of its bits; None where arithmetic is faster."""
    limits = np.iinfo(raw.dtype)
    low, high = span or (int(limits.min), int(limits.max))
    if (high - low + 1) * _TABLE_GAIN > raw.size:
        return None
    numbers = np.arange(low, high + 1).astype(raw.dtype)
    values = np.empty(numbers.size, np.float32)
    affine(numbers, values)
    table = np.full(256**raw.dtype.itemsize, np.nan, np.float32)
    table[numbers.view(f"u{raw.dtype.itemsize}")] = values
    return table


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
    affine: Affine,
    in_arena: bool = False,
) -> npt.NDArray[np.int64]:
    """Return the record of one channel.

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    big_endian : bool
    first_byte : int
        Byte in the sample's row at which canonical voxel (0, 0, 0) of the whole volume lies, or would lie.
    itemsize : int
    strides : (3,) int
        Signed, in elements, along canonical (D, H, W).
    origin : (3,) int
        The crop's, canonical; negative where the crop sticks out.
    flips : (3,) bool
    crop, shape : (3,) int
        Of the crop and of the volume.
    affine : Affine
    in_arena : bool
        Whether `first_byte` counts in the arena and not in the sample's row.

    Returns
    -------
    record : (16,) int64
    """
    record = np.zeros(RECORD_WORDS, np.int64)
    record[0] = first_byte
    record[1] = DTYPES.index(dtype) | _BIG_ENDIAN * big_endian | _KEEP * affine.keep | _IN_ARENA * in_arena
    for axis, (start, edge, length) in enumerate(zip(origin, crop, shape, strict=True)):
        lo, hi = max(0, -start), min(edge, length - start)
        record[0] += itemsize * strides[axis] * (start + edge - 1 if flips[axis] else start)
        record[2 + axis] = -strides[axis] if flips[axis] else strides[axis]
        record[5 + axis], record[8 + axis] = (edge - hi, edge - lo) if flips[axis] else (lo, hi)
    record[11:13] = np.array([affine.scale, affine.shift], np.float64).view(np.int64)
    record[13:15] = np.array([affine.low, affine.high, affine.fill, 0], np.float32).view("<i8")
    return record


def fill_values(records: Any, dtype: str) -> Any:
    """Return what stands outside of each record's volume, on the records' device.

    Parameters
    ----------
    records : (B, C, 16) int64
    dtype : "float32" or "float16"

    Returns
    -------
    fills : (B, C) of `dtype`
    """
    halves = records[..., 14].copy(order="C").view(np.float32)
    return halves[..., ::2].astype(dtype, order="C")


def decode_volume_ref(
    raw: npt.NDArray[np.uint8],
    records: npt.NDArray[np.int64],
    shape: Triple,
    dtype: str = "float32",
    *,
    arena: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[Any]:
    """Decode a batch in NumPy, straight from its records; the definition of `decode_volume`.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, C, 16) int64
    shape : (3,) int
        The crop's (D, H, W).
    dtype : "float32" or "float16"
    arena : (bytes,) uint8, optional
        Volumes kept, which records may point into.

    Returns
    -------
    target : (B, C, D, H, W) of `dtype`
    """
    out = np.empty((*records.shape[:2], *shape), np.float32)
    for row, sample, channels in zip(raw, records, out, strict=True):
        for record, channel in zip(sample, channels, strict=True):
            kept = arena if record[1] & _IN_ARENA else None
            _decode_record(row if kept is None else kept, record, channel)
    return out.astype(dtype, copy=False)


def _decode_record(row: npt.NDArray[np.uint8], record: npt.NDArray[np.int64], out: npt.NDArray[np.float32]) -> None:
    """Decode one channel from its record."""
    stored = np.dtype(DTYPES[record[1] & 0xFF]).newbyteorder(">" if record[1] & _BIG_ENDIAN else "<")
    scale, shift = record[11:13].view(np.float64)
    low, high, fill, _ = record[13:15].view(np.float32)
    lo, hi, strides = record[5:8], record[8:11], record[2:5] * stored.itemsize
    out[...] = fill
    extent = tuple(np.maximum(hi - lo, 0))
    if 0 in extent:
        return
    inside = np.ndarray(extent, stored, row.data, record[0] + int(lo @ strides), tuple(strides))
    window = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    Affine(float(scale), float(shift), low, high, fill, bool(record[1] & _KEEP))(inside, out[window])


def decode_volume(
    raw: Any, records: Any, shape: Triple, dtype: str = "float32", *, arena: Any = None, twice: bool = False
) -> Any:
    """Decode a batch on the GPU; equivalent to `decode_volume_ref`, bit for bit.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
        `bytes` a multiple of 16.
    records : (B, C, 16) int64 CuPy array, contiguous
    shape : (3,) int
        The crop's (D, H, W).
    dtype : "float32" or "float16"
    arena : (bytes,) uint8 CuPy array, optional
        Volumes kept, which records may point into.
    twice : bool
        Return the target two times, written in one pass.

    Returns
    -------
    target : (B, C, D, H, W) CuPy array, or a pair of them

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    xp = launch.array_module()
    check_packed(raw, records)
    samples, channels = records.shape[:2]
    target = xp.empty((samples, channels, *shape), dtype)
    copy = xp.empty_like(target) if twice else None
    decode = launch.kernel("decode_volume", *_SOURCES, defines=OUTPUTS[dtype])
    scalars = (np.int64(raw.shape[1]), *(np.int32(n) for n in (channels, *shape)))
    second, kept = (np.uint64(0) if array is None else array for array in (copy, arena))
    decode(rows_grid(shape, samples * channels), (32, 8), (target, second, raw, kept, records, *scalars))
    return (target, copy) if twice else target


def check_packed(raw: Any, records: Any) -> None:
    """Refuse a batch that is not packed as the kernels want it.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    launch.check_array(raw, "raw", np.uint8, 2)
    launch.check_array(records, "records", np.int64, 3)
    if len(raw) != len(records) or records.shape[2] != RECORD_WORDS or raw.shape[1] % 16:
        raise ValueError(
            f"wanted raw (B, multiple of 16) and records (B, C, {RECORD_WORDS}), got {raw.shape} and {records.shape}"
        )


def rows_grid(shape: Triple, arrays: int) -> tuple[int, int]:
    """Return the grid of a kernel whose blocks of (32, 8) threads take a row of a crop for each warp."""
    return min(-(-shape[0] * shape[1] // 8), 65535), arrays
