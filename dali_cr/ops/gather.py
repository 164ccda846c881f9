"""`gather_views`: raw file voxels to views seen through an affine map, several of one volume (kernels/gather.cu).

A record of 32 int64 words says for one channel of one view where the volume's voxels lie and where the view looks:

====== ===================================================================================
word   content
====== ===================================================================================
0      byte in the sample's row (or the arena) at which canonical voxel (0, 0, 0) lies (or would lie)
1      dtype code (place in `DTYPES`) | big-endian << 8 | keep NaN and Inf << 9 | in arena << 10
2-4    signed strides along canonical D, H, W, in elements
5-7    first canonical voxel that is there, along D, H, W
8-10   one past the last
11-14  affine map, clipping and fill, as in `dali_cr.ops.decode`
15     0: trilinear, 1: nearest, 2: trilinear, held at the edges
16-24  bits of the float64 matrix, row after row
25-27  bits of the float64 offset: source = matrix @ (d, h, w) + offset, voxels' centres at whole numbers
28-31  0
====== ===================================================================================

A source is `(offset + matrix[:, 0] d) + (matrix[:, 1] h + matrix[:, 2] w)` in float64, each product and sum rounded. Of
its eight corners those outside of the volume are `fill`. Held at the edges, a source up to half a voxel outside is
moved to the outermost centre, and one farther outside is `fill`: so are the voxels of another grid over the same space.
Fractions are float32, in steps of 2**-23; interpolation runs
along W, then H, then D, each time as `a + f * (b - a)` in float32, each step rounded and subnormals flushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import decode, launch
from dali_cr.ops.cpu.interpolate import interpolate
from dali_cr.ops.decode import Affine, Floats
from dali_cr.volume.geometry import DTYPES, Triple

RECORD_WORDS = 32
_BIG_ENDIAN, _KEEP, _IN_ARENA = 1 << 8, 1 << 9, 1 << 10
_NEAREST, _HELD = 1, 2

_SOURCES = ("common.cuh", "voxel.cuh", "gather.cu")
VARIANTS: tuple[launch.Variant, ...] = (("gather_views", _SOURCES, ()),)
_BLOCK = (32, 8)


def make_gather_record(
    *,
    dtype: str,
    big_endian: bool,
    first_byte: int,
    itemsize: int,
    strides: Sequence[int],
    lo: Sequence[int],
    hi: Sequence[int],
    affine: Affine,
    matrix: npt.ArrayLike,
    offset: npt.ArrayLike,
    nearest: bool = False,
    held: bool = False,
    in_arena: bool = False,
) -> npt.NDArray[np.int64]:
    """Return the record of one channel of one view.

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
    lo, hi : (3,) int
        First canonical voxel that is there, and one past the last.
    affine : Affine
    matrix : (3, 3) float
    offset : (3,) float
        ``matrix @ (d, h, w) + offset`` is the canonical voxel that output voxel (d, h, w) shows.
    nearest : bool
        Take the nearest voxel (a half goes up) and do not interpolate.
    held : bool
        Hold sources at the edges; then [lo, hi) must reach to the volume's own wherever a source leaves it.
    in_arena : bool
        Whether `first_byte` counts in the arena and not in the sample's row.

    Returns
    -------
    record : (32,) int64

    Raises
    ------
    ValueError
        If the item size is not the dtype's, or both `nearest` and `held` are asked for.
    """
    if itemsize != np.dtype(dtype).itemsize:
        raise ValueError(f"itemsize: wanted {np.dtype(dtype).itemsize} for {dtype}, got {itemsize}")
    if nearest and held:
        raise ValueError("nearest, held: wanted one of them, got both")
    record = np.zeros(RECORD_WORDS, np.int64)
    record[0] = first_byte
    record[1] = DTYPES.index(dtype) | _BIG_ENDIAN * big_endian | _KEEP * affine.keep | _IN_ARENA * in_arena
    record[2:5], record[5:8], record[8:11] = strides, lo, hi
    record[11:13] = np.array([affine.scale, affine.shift], np.float64).view(np.int64)
    record[13:15] = np.array([affine.low, affine.high, affine.fill, 0], np.float32).view("<i8")
    record[15] = _HELD if held else nearest
    record[16:25] = np.asarray(matrix, np.float64).reshape(9).view(np.int64)
    record[25:28] = np.asarray(offset, np.float64).reshape(3).view(np.int64)
    return record


def gather_views_ref(
    raw: npt.NDArray[np.uint8],
    records: npt.NDArray[np.int64],
    shape: Triple,
    *,
    arena: npt.NDArray[np.uint8] | None = None,
) -> Floats:
    """Gather a batch of views on the CPU, straight from their records; the definition of `gather_views`.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, V, C, 32) int64
    shape : (3,) int
        The views' (D, H, W).
    arena : (bytes,) uint8, optional
        Volumes kept, which records may point into.

    Returns
    -------
    views : (B, V, C, D, H, W) float32
    """
    out = np.empty((*records.shape[:3], *shape), np.float32)
    for sample, row in enumerate(raw):
        for place in np.ndindex(*records.shape[1:3]):
            _gather_record(row, records[(sample, *place)], out[(sample, *place)], arena)
    return out


def gather_views(raw: Any, records: Any, shape: Triple, *, arena: Any = None) -> Any:
    """Gather a batch of views on the GPU, in one launch; equivalent to `gather_views_ref`, bit for bit.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
        `bytes` a multiple of 16.
    records : (B, V, C, 32) int64 CuPy array, contiguous
    shape : (3,) int
        The views' (D, H, W).
    arena : (bytes,) uint8 CuPy array, optional
        Volumes kept, which records may point into.

    Returns
    -------
    views : (B, V, C, D, H, W) float32 CuPy array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    launch.check_array(raw, "raw", np.uint8, 2)
    launch.check_array(records, "records", np.int64, 4)
    if len(raw) != len(records) or records.shape[3] != RECORD_WORDS or raw.shape[1] % 16:
        raise ValueError(
            f"gather_views: wanted raw (B, multiple of 16) and records (B, V, C, {RECORD_WORDS}), "
            f"got {raw.shape} and {records.shape}"
        )
    out = launch.array_module().empty((*records.shape[:3], *shape), np.float32)
    if out.size == 0:
        return out
    rows, each = shape[0] * shape[1], records.shape[1] * records.shape[2]
    kept = np.uint64(0) if arena is None else arena
    scalars = (np.int64(raw.shape[1]), *(np.int32(n) for n in (each, *shape)))
    grid = (min(-(-rows // _BLOCK[1]), 65535), len(raw) * each)
    launch.kernel("gather_views", *_SOURCES)(grid, _BLOCK, (out, raw, kept, records, *scalars))
    return out


def gather_crops(raw: Any, records: Any, shape: Triple, dtype: str = "float32", *, arena: Any = None) -> Any:
    """Gather one view of each sample on the GPU; as `gather_views`.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
    records : (B, C, 32) int64 CuPy array, contiguous
    shape : (3,) int
    dtype : "float32" or "float16"
    arena : (bytes,) uint8 CuPy array, optional

    Returns
    -------
    crops : (B, C, D, H, W) CuPy array of `dtype`
    """
    views = gather_views(raw, records[:, None], shape, arena=arena)
    return views.reshape(*records.shape[:2], *shape).astype(dtype, copy=False)


def gather_crops_ref(
    raw: npt.NDArray[np.uint8], records: npt.NDArray[np.int64], shape: Triple, dtype: str = "float32"
) -> npt.NDArray[Any]:
    """Gather one view of each sample on the CPU; the definition of `gather_crops`."""
    return gather_views_ref(raw, records[:, None], shape)[:, 0].astype(dtype, copy=False)


def _gather_record(
    row: npt.NDArray[np.uint8], record: npt.NDArray[np.int64], out: Floats, arena: npt.NDArray[np.uint8] | None
) -> None:
    """Decode all that a record's volume has, then look up the corners of every output voxel."""
    lo, hi = record[5:8], record[8:11]
    extent = np.maximum(hi - lo, 0)
    whole = record[: decode.RECORD_WORDS].copy()
    whole[0] += np.dtype(DTYPES[record[1] & 0xFF]).itemsize * int(lo @ record[2:5])
    whole[5:8], whole[8:11], whole[15] = 0, extent, 0
    box = decode.decode_volume_ref(row[None], whole[None, None], tuple(extent.tolist()), arena=arena)[0, 0]
    numbers, fill = record[16:28].view(np.float64), float(record[14:15].view(np.float32)[0])
    mode = {"nearest": record[15] == _NEAREST, "held": record[15] == _HELD}
    gather_box(box, lo.tolist(), fill, numbers[:9].reshape(3, 3), numbers[9:], out, **mode)


def gather_box(
    box: Floats,
    lo: Sequence[int],
    fill: float,
    matrix: npt.ArrayLike,
    offset: npt.ArrayLike,
    out: Floats,
    nearest: bool = False,
    held: bool = False,
) -> None:
    """Gather one view on the CPU from a decoded box.

    Parameters
    ----------
    box : (D, H, W) float32
        All that is there; no subnormals in it.
    lo : (3,) int
        The canonical voxel that is the box's first.
    fill : float
        What stands outside of the box.
    matrix : (3, 3) float
    offset : (3,) float
        As in `make_gather_record`.
    out : (D, H, W) float32, contiguous
        Gets the view.
    nearest, held : bool
        As in `make_gather_record`.

    Raises
    ------
    ValueError
        If `out` has another dtype or layout, or both `nearest` and `held` are asked for.

    Examples
    --------
    >>> view = np.empty((1, 1, 4), np.float32)
    >>> gather_box(np.float32([[[2, 4, 8]]]), (0, 0, 0), 0.0, np.eye(3), (0, 0, 0.5), view)
    >>> view
    array([[[3., 6., 4., 0.]]], dtype=float32)
    """
    if out.dtype != np.float32 or not out.flags.c_contiguous or out.ndim != 3:
        raise ValueError(f"out: wanted contiguous float32 (D, H, W), got {out.dtype} {out.shape}")
    if nearest and held:
        raise ValueError("nearest, held: wanted one of them, got both")
    line, corner = np.ascontiguousarray(box, np.float32).reshape(-1), np.array(lo, np.float64)
    m, start = np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(offset, np.float64)
    mode = bool(nearest), bool(held)
    interpolate(line, box.shape, corner, np.float32(fill), m, start, out.reshape(-1), out.shape, *mode)
