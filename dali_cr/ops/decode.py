"""`decode_volume`: convert raw file voxels to a normalised crop (kernels/decode.cu).

A record (`dali_cr.ops.record.RECORD`) describes the layout and the scaling of the voxels of one channel of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.elementary import flushed, half_bits
from dali_cr.ops.record import BIG_ENDIAN, IN_ARENA, KEEP, RECORD, RECORD_WORDS, Rescale
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import DTYPES, Triple

_TINY = np.finfo(np.float32).tiny
_LARGEST = float(np.finfo(np.float64).max)
_SHIFTS = tuple(map(np.uint64, (32, 16, 8)))
_MASKS = tuple(map(np.uint64, (0x0000FFFF0000FFFF, 0x00FF00FF00FF00FF)))

Floats = npt.NDArray[np.float32]
Numbers = tuple[float, float, float]
"""Scale, shift, and the magnitude below which a raw number counts as 0."""
Limits = tuple[np.float32, np.float32, np.float32]
"""Lower and upper limit, and the padding value."""

_SOURCES = ("common.cuh", "voxel.cuh", "decode.cu")
OUTPUTS: dict[str, launch.Defines] = {
    "float32": (("OUTPUT", "float"), ("STORE", "")),
    "float16": (("OUTPUT", "unsigned short"), ("STORE", "half_bits")),
}
"""Preprocessor definitions of the decode kernel by output dtype."""

VARIANTS: tuple[launch.Variant, ...] = tuple(("decode_volume", _SOURCES, defines) for defines in OUTPUTS.values())


def decode_channel(
    raw: npt.NDArray[Any],
    rescale: Rescale,
    out: npt.NDArray[Any],
    copy: npt.NDArray[Any] | None = None,
    first: Sequence[int] = (0, 0, 0),
) -> None:
    """Decode one channel on the CPU; same bits as `decode_volume`.

    Parameters
    ----------
    raw : (d, h, w) of the file's dtype and byte order, any strides
    rescale : Rescale
    out : (D, H, W) float32 or float16, contiguous
        Output: the voxels, with `rescale.padding` around them.
    copy : (D, H, W) as `out`, optional
        Second output with the same content.
    first : (3,) int
        Index in `out` of the first voxel of `raw`.

    Raises
    ------
    ValueError
        If an array has the wrong dtype or layout, or the voxels do not fit.

    Examples
    --------
    >>> out = np.empty((1, 1, 4), np.float32)
    >>> decode_channel(np.array([[[1, 2]]], ">i2"), Rescale(0.5, padding=-1), out, first=(0, 0, 1))
    >>> out
    array([[[-1. ,  0.5,  1. , -1. ]]], dtype=float32)
    """
    twin = out if copy is None else copy
    if out.dtype not in (np.float32, np.float16) or twin.dtype != out.dtype or twin.shape != out.shape:
        raise ValueError(
            "out, copy: expected one shape and dtype, float32 or float16, "
            f"got {out.dtype} {out.shape} and {twin.dtype} {twin.shape}"
        )
    if not (out.flags.c_contiguous and twin.flags.c_contiguous):
        raise ValueError(f"out, copy: expected contiguous arrays, got strides {out.strides} and {twin.strides}")
    if not all(0 <= start <= edge - n for start, n, edge in zip(first, raw.shape, out.shape, strict=True)):
        raise ValueError(f"raw: expected a shape that fits into {out.shape} at {tuple(first)}, got {raw.shape}")
    stored = stored_dtype(out.dtype)
    corner = (int(first[0]), int(first[1]), int(first[2]))
    outs = out.reshape(-1).view(stored), twin.reshape(-1).view(stored)
    decode_line(*decode_arguments(raw, rescale), corner, out.shape, *outs, copy is not None)


def stored_dtype(dtype: npt.DTypeLike) -> Any:
    """Return the dtype of outputs in compiled loops: float32, or uint16 for the bits of float16."""
    return np.float32 if dtype == np.float32 else np.uint16


def decode_arguments(raw: npt.NDArray[Any], rescale: Rescale) -> tuple[Any, ...]:
    """Return the leading arguments of `decode_line` for an array.

    Parameters
    ----------
    raw : (d, h, w) of the file's dtype and byte order, any strides
    rescale : Rescale
    """
    line, start, strides = _as_line(raw)
    kind = np.empty(0, raw.dtype.newbyteorder("="))
    least = float(_TINY) if kind.dtype == np.float32 else 0.0
    numbers = (float(rescale.scale), float(rescale.shift), least)
    limits = (np.float32(rescale.low), np.float32(rescale.high), np.float32(rescale.padding))
    return line, kind, not raw.dtype.isnative, start, strides, raw.shape, numbers, limits, rescale.keep


def _as_line(raw: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int, tuple[int, ...]]:
    """Return an array's memory as a flat array of bits, the index of the first element, and the strides."""
    bits = raw.view(f"u{raw.itemsize}")
    if bits.size == 0:
        return np.empty(0, bits.dtype), 0, (0, 0, 0)
    strides = tuple(stride // raw.itemsize for stride in raw.strides)
    ends = [stride * (n - 1) for stride, n in zip(strides, raw.shape, strict=True)]
    lowest = bits[tuple(slice(None, None, -1 if end < 0 else 1) for end in ends)]
    length = sum(map(abs, ends)) + 1
    line = np.lib.stride_tricks.as_strided(lowest, (length,), (raw.itemsize,), writeable=False)
    return line, -sum(min(end, 0) for end in ends), strides


@compiled
def decode_line(
    line: npt.NDArray[Any],
    kind: npt.NDArray[Any],
    swapped: bool,
    start: int,
    strides: Triple,
    extent: Triple,
    numbers: Numbers,
    limits: Limits,
    keep: bool,
    corner: Triple,
    shape: Triple,
    out: npt.NDArray[Any],
    copy: npt.NDArray[Any],
    twice: bool,
) -> None:
    """Decode voxels (d, h, w) from a flat array of bits into `out`, and into `copy` if `twice`.

    Parameters
    ----------
    line : (n,) unsigned integers with the item size of the voxels
    kind : (0,) array with the dtype of the voxels
    swapped : bool
        Whether voxels have the opposite byte order of the machine.
    start : int
        Index of the first voxel in `line`.
    strides, extent : (3,) int
        Strides and shape of the voxels.
    numbers : scale, shift, and the magnitude below which a raw number counts as 0
    limits : low, high, padding
    keep : bool
        Keep NaN and Inf.
    corner : (3,) int
        Index of the first voxel in the output.
    shape : (3,) int
        Shape of the output.
    out, copy : (voxels,) float32, or uint16 for the bits of float16
    twice : bool
        Write `copy` too.
    """
    depth, height, width = shape
    row, blank = np.full(width, limits[2], np.float32), np.full(width, limits[2], np.float32)
    bits, values = np.empty(extent[2], line.dtype), line.view(kind.dtype)
    collected = bits.view(kind.dtype)
    for z in range(depth):
        for y in range(height):
            d, h = z - corner[0], y - corner[1]
            inside = 0 <= d < extent[0] and 0 <= h < extent[1] and extent[2] > 0
            if inside:
                first = start + d * strides[0] + h * strides[1]
                if strides[2] == 1 and not swapped:
                    _decode_row(values, first, extent[2], numbers, limits, keep, row, corner[2])
                else:
                    _collect(line, first, strides[2], swapped, bits)
                    _decode_row(collected, 0, extent[2], numbers, limits, keep, row, corner[2])
            store_row(row if inside else blank, out, (z * height + y) * width)
            if twice:
                store_row(row if inside else blank, copy, (z * height + y) * width)


# Indices below are unsigned: Numba checks signed ones for negative values, which costs more than the arithmetic.


@compiled
def _collect(line: npt.NDArray[Any], first: int, stride: int, swapped: bool, bits: npt.NDArray[Any]) -> None:
    """Copy a row from a flat array of bits, in the byte order of the machine."""
    begin, step = np.uint64(first), np.uint64(stride)
    if stride == -1:
        for x in range(np.uint64(bits.size)):
            bits[x] = line[begin - x]
    else:
        for x in range(np.uint64(bits.size)):
            bits[x] = line[begin + x * step]
    if swapped:
        for x in range(np.uint64(bits.size)):
            bits[x] = _swap_bytes(np.uint64(bits[x])) >> np.uint64(64 - 8 * bits.itemsize)


@compiled
def _swap_bytes(word: np.uint64) -> np.uint64:
    word = word >> _SHIFTS[0] | word << _SHIFTS[0]
    word = word >> _SHIFTS[1] & _MASKS[0] | (word & _MASKS[0]) << _SHIFTS[1]
    return word >> _SHIFTS[2] & _MASKS[1] | (word & _MASKS[1]) << _SHIFTS[2]


@compiled
def _decode_row(
    values: npt.NDArray[Any], first: int, count: int, numbers: Numbers, limits: Limits, keep: bool, row: Floats, at: int
) -> None:
    """Decode voxels in the byte order of the machine; without branches, so that the loop is vectorised."""
    scale, shift, least = numbers
    low, high, padding = limits
    begin, place = np.uint64(first), np.uint64(at)
    for x in range(np.uint64(count)):
        value = np.float64(values[begin + x])
        finite = abs(value) <= _LARGEST
        value = np.float64(0.0) if abs(value) < least else value
        decoded = flushed(np.float32(value * scale + shift))
        decoded = low if decoded < low else decoded
        decoded = high if decoded > high else decoded
        row[place + x] = decoded if finite | keep else padding


@compiled
def store_row(row: Floats, out: npt.NDArray[Any], first: int) -> None:
    """Store a row as float32, or as the bits of float16."""
    begin = np.uint64(first)
    if out.itemsize == 2:
        for x in range(np.uint64(row.size)):
            out[begin + x] = half_bits(row[x])
    else:
        for x in range(np.uint64(row.size)):
            out[begin + x] = row[x]


def padding_values(records: Any, dtype: str) -> Any:
    """Return the padding value of each record, on the records' device.

    Parameters
    ----------
    records : (B, C, 16) int64
    dtype : "float32" or "float16"

    Returns
    -------
    padding : (B, C) of `dtype`
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
    """Decode a batch on the CPU from its records; the definition of `decode_volume`.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, C, 16) int64
    shape : (3,) int
        (D, H, W) of the crop.
    dtype : "float32" or "float16"
    arena : (bytes,) uint8, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    target : (B, C, D, H, W) of `dtype`
    """
    out = np.empty((*records.shape[:2], *shape), dtype)
    for row, sample, channels in zip(raw, records, out, strict=True):
        for record, channel in zip(sample, channels, strict=True):
            cached = arena if record.view(RECORD)["flags"][0] & IN_ARENA else None
            _decode_record(row if cached is None else cached, record, channel)
    return out


def _decode_record(row: npt.NDArray[np.uint8], words: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """Decode one channel from its record."""
    record = words.view(RECORD)[0]
    stored = np.dtype(DTYPES[record["code"]]).newbyteorder(">" if record["flags"] & BIG_ENDIAN else "<")
    lo, strides = record["lo"], record["strides"] * stored.itemsize
    scale, shift, low, high, padding = (float(record[name]) for name in ("scale", "shift", "low", "high", "padding"))
    rescale = Rescale(scale, shift, low, high, padding, bool(record["flags"] & KEEP))
    extent = tuple(np.maximum(record["hi"] - lo, 0).tolist())
    if 0 in extent:
        out[...] = rescale.padding
        return
    inside = np.ndarray(extent, stored, row.data, int(record["start"] + lo @ strides), tuple(strides.tolist()))
    decode_channel(inside, rescale, out, first=lo.tolist())


def decode_volume(
    raw: Any, records: Any, shape: Triple, dtype: str = "float32", *, arena: Any = None, twice: bool = False
) -> Any:
    """Decode a batch on the GPU; same bits as `decode_volume_ref`.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
        `bytes` must be a multiple of 16.
    records : (B, C, 16) int64 CuPy array, contiguous
    shape : (3,) int
        (D, H, W) of the crop.
    dtype : "float32" or "float16"
    arena : (bytes,) uint8 CuPy array, optional
        Memory with cached volumes that records may refer to.
    twice : bool
        Return the target and a copy, written in one pass.

    Returns
    -------
    target : (B, C, D, H, W) CuPy array, or a pair of them

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout.
    """
    xp = launch.array_module()
    _check_packed(raw, records)
    samples, channels = records.shape[:2]
    target = xp.empty((samples, channels, *shape), dtype)
    copy = xp.empty_like(target) if twice else None
    decode = launch.kernel("decode_volume", *_SOURCES, defines=OUTPUTS[dtype])
    scalars = (np.int64(raw.shape[1]), *(np.int32(n) for n in (channels, *shape)))
    second, cached = (np.uint64(0) if array is None else array for array in (copy, arena))
    grid, block = launch.rows_of(shape, samples * channels, target.itemsize)
    decode(grid, block, (target, second, raw, cached, records, *scalars))
    return (target, copy) if twice else target


def _check_packed(raw: Any, records: Any) -> None:
    launch.check_array(raw, "raw", np.uint8, 2)
    launch.check_array(records, "records", np.int64, 3)
    if len(raw) != len(records) or records.shape[2] != RECORD_WORDS or raw.shape[1] % 16:
        raise ValueError(
            f"expected raw (B, multiple of 16) and records (B, C, {RECORD_WORDS}), got {raw.shape} and {records.shape}"
        )
