"""`decode_volume`: convert raw file voxels to a normalised crop (kernels/decode.cu).

A record (`dali_cr.ops.records.layout.RECORD`) describes the layout and the scaling of the voxels of one channel of one
sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.lines import decode_arguments, decode_line, stored_dtype
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_raw
from dali_cr.ops.records.layout import BIG_ENDIAN, IN_ARENA, KEEP, RECORD, RECORD_WORDS
from dali_cr.ops.records.rescale import Rescale
from dali_cr.volume.geometry import DTYPES, Triple

_SOURCES = ("common.cuh", "record.cuh", "voxel.cuh", "decode.cu")
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
    check_raw(raw, records, ("C", RECORD_WORDS))
    samples, channels = records.shape[:2]
    target = xp.empty((samples, channels, *shape), dtype)
    copy = xp.empty_like(target) if twice else None
    decode = launch.kernel("decode_volume", *_SOURCES, defines=OUTPUTS[dtype])
    scalars = (np.int64(raw.shape[1]), *(np.int32(n) for n in (channels, *shape)))
    second, cached = (np.uint64(0) if array is None else array for array in (copy, arena))
    grid, block = launch.rows_of(shape, samples * channels, target.itemsize)
    decode(grid, block, (target, second, raw, cached, records, *scalars))
    return (target, copy) if twice else target
