"""Decoding of raw voxels from flat arrays, row by row: the compiled loops of `dali_cr.ops.decode`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import flushed, half_bits
from dali_cr.ops.records.rescale import Rescale
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple

_TINY = np.finfo(np.float32).tiny
_LARGEST = float(np.finfo(np.float64).max)
_SHIFTS = tuple(map(np.uint64, (32, 16, 8)))
_MASKS = tuple(map(np.uint64, (0x0000FFFF0000FFFF, 0x00FF00FF00FF00FF)))

Floats = npt.NDArray[np.float32]
Numbers = tuple[float, float, float]
"""Scale, shift, and the magnitude below which a raw number counts as 0."""
Limits = tuple[np.float32, np.float32, np.float32]
"""Lower and upper limit, and the padding value."""


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
