"""`gather_views`: interpolate views of raw volumes through affine maps (kernels/gather.cu).

A record (`dali_cr.ops.records.layout.VIEW_RECORD`) describes the layout of the volume's voxels and the affine map for
one channel of one view.

A source is `(offset + matrix[:, 0] d) + (matrix[:, 1] h + matrix[:, 2] w)` in float64, each product and sum rounded. Of
its eight corners those outside of the volume have the padding value. In clamped mode, a source up to half a voxel
outside of the outermost centres is moved to them, and one farther outside gets the padding value; this is how a volume
is resampled to another grid over the same space. Fractions are float32, in steps of 2**-23; interpolation runs along W,
then H, then D, each time as `a + f * (b - a)` in float32, each step rounded and subnormals flushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.interpolate import interpolate
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_raw
from dali_cr.ops.records.layout import CLAMPED, NEAREST, RECORD, RECORD_WORDS, VIEW_RECORD, VIEW_WORDS
from dali_cr.volume.geometry import DTYPES, Triple

Floats = npt.NDArray[np.float32]

_SOURCES = ("common.cuh", "record.cuh", "voxel.cuh", "gather.cu")
VARIANTS: tuple[launch.Variant, ...] = (("gather_views", _SOURCES, ()),)
_BLOCK = (32, 8)


def gather_views_ref(
    raw: npt.NDArray[np.uint8],
    records: npt.NDArray[np.int64],
    shape: Triple,
    *,
    arena: npt.NDArray[np.uint8] | None = None,
) -> Floats:
    """Gather a batch of views on the CPU from their records; the definition of `gather_views`.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, V, C, 32) int64
    shape : (3,) int
        (D, H, W) of the views.
    arena : (bytes,) uint8, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    views : (B, V, C, D, H, W) float32
    """
    out = np.empty((*records.shape[:3], *shape), np.float32)
    for sample, row in enumerate(raw):
        for view, channel in np.ndindex(*records.shape[1:3]):
            _gather_record(row, records[sample, view, channel], out[sample, view, channel], arena)
    return out


def gather_views(raw: Any, records: Any, shape: Triple, *, arena: Any = None) -> Any:
    """Gather a batch of views on the GPU, in one launch; same bits as `gather_views_ref`.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
        `bytes` must be a multiple of 16.
    records : (B, V, C, 32) int64 CuPy array, contiguous
    shape : (3,) int
        (D, H, W) of the views.
    arena : (bytes,) uint8 CuPy array, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    views : (B, V, C, D, H, W) float32 CuPy array

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout.
    """
    check_raw(raw, records, ("V", "C", VIEW_WORDS))
    out = launch.array_module().empty((*records.shape[:3], *shape), np.float32)
    if out.size == 0:
        return out
    rows, each = shape[0] * shape[1], records.shape[1] * records.shape[2]
    cached = np.uint64(0) if arena is None else arena
    scalars = (np.int64(raw.shape[1]), *(np.int32(n) for n in (each, *shape)))
    grid = (min(-(-rows // _BLOCK[1]), 65535), len(raw) * each)
    launch.kernel("gather_views", *_SOURCES)(grid, _BLOCK, (out, raw, cached, records, *scalars))
    return out


def gather_crops(raw: Any, records: Any, shape: Triple, dtype: str = "float32", *, arena: Any = None) -> Any:
    """Gather one view of each sample on the GPU; see `gather_views`.

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
    """Decode the whole volume of a record, then interpolate every output voxel."""
    view = record.view(VIEW_RECORD)[0]
    lo, extent = view["lo"], np.maximum(view["hi"] - view["lo"], 0)
    whole = record[:RECORD_WORDS].copy()
    inside = whole.view(RECORD)[0]
    inside["start"] += np.dtype(DTYPES[view["code"]]).itemsize * int(lo @ view["strides"])
    inside["lo"], inside["hi"], inside["mode"] = 0, extent, 0
    box = decode_volume_ref(row[None], whole[None, None], tuple(extent.tolist()), arena=arena)[0, 0]
    mode = {"nearest": view["mode"] == NEAREST, "clamped": view["mode"] == CLAMPED}
    gather_box(box, lo.tolist(), float(view["padding"]), view["matrix"], view["offset"], out, **mode)


def gather_box(
    box: Floats,
    lo: Sequence[int],
    padding: float,
    matrix: npt.ArrayLike,
    offset: npt.ArrayLike,
    out: Floats,
    nearest: bool = False,
    clamped: bool = False,
) -> None:
    """Gather one view on the CPU from a decoded box.

    Parameters
    ----------
    box : (D, H, W) float32
        All available voxels, without subnormals.
    lo : (3,) int
        The canonical voxel at the origin of the box.
    padding : float
        Padding value, outside of the box.
    matrix : (3, 3) float
    offset : (3,) float
        As in `dali_cr.ops.records.views.make_gather_record`.
    out : (D, H, W) float32, contiguous
        Output: the view.
    nearest, clamped : bool
        As in `dali_cr.ops.records.views.make_gather_record`.

    Raises
    ------
    ValueError
        If `out` has the wrong dtype or layout, or both `nearest` and `clamped` are true.

    Examples
    --------
    >>> view = np.empty((1, 1, 4), np.float32)
    >>> gather_box(np.float32([[[2, 4, 8]]]), (0, 0, 0), 0.0, np.eye(3), (0, 0, 0.5), view)
    >>> view
    array([[[3., 6., 4., 0.]]], dtype=float32)
    """
    if out.dtype != np.float32 or not out.flags.c_contiguous or out.ndim != 3:
        raise ValueError(f"out: expected contiguous float32 (D, H, W), got {out.dtype} {out.shape}")
    if nearest and clamped:
        raise ValueError("nearest, clamped: expected at most one of them, got both")
    line, corner = np.ascontiguousarray(box, np.float32).reshape(-1), np.array(lo, np.float64)
    m, start = np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(offset, np.float64)
    mode = bool(nearest), bool(clamped)
    interpolate(line, box.shape, corner, np.float32(padding), m, start, out.reshape(-1), out.shape, *mode)
