"""`restore_pairs`: decode and swap in one pass over the output (kernels/restore.cu)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.decode import OUTPUTS, check_packed, decode_volume_ref, rows_grid
from dali_cr.ops.swap import Swaps, swap_in_place_ref
from dali_cr.volume.geometry import Triple

_MASK_BITS = 64
_SOURCES = ("common.cuh", "boxes.cuh", "voxel.cuh", "restore.cu")
_THREADS = 256

VARIANTS: tuple[launch.Variant, ...] = tuple(
    (entry, _SOURCES, defines) for entry in ("swap_masks", "restore_pairs") for defines in OUTPUTS.values()
)


def restore_pairs_ref(
    raw: npt.NDArray[np.uint8],
    records: npt.NDArray[np.int64],
    swaps: Swaps,
    shape: Triple,
    dtype: str = "float32",
    *,
    arena: npt.NDArray[np.uint8] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Decode a batch and swap in a copy of it, in NumPy; the definition of `restore_pairs`.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, C, 16) int64
    swaps : (B, T, 3, 3) int32
        Known to be good.
    shape : (3,) int
        The crop's (D, H, W).
    dtype : "float32" or "float16"
    arena : (bytes,) uint8, optional

    Returns
    -------
    target, input : (B, C, D, H, W) of `dtype`
    """
    target = decode_volume_ref(raw, records, shape, dtype, arena=arena)
    input = target.copy()
    swap_in_place_ref(input, swaps)
    return target, input


def restore_pairs(
    raw: Any, records: Any, swaps: Any, shape: Triple, dtype: str = "float32", *, arena: Any = None
) -> tuple[Any, Any]:
    """Decode a batch and swap in it on the GPU, each output voxel by itself; equivalent to `restore_pairs_ref`.

    Parameters
    ----------
    raw : (B, bytes) uint8 CuPy array, contiguous
        `bytes` a multiple of 16.
    records : (B, C, 16) int64 CuPy array, contiguous
    swaps : (B, T, 3, 3) int32 CuPy array, contiguous
        Known to be good: a box that leaves the crop stops the kernel, and with it the process's use of the GPU.
    shape : (3,) int
        The crop's (D, H, W).
    dtype : "float32" or "float16"
    arena : (bytes,) uint8 CuPy array, optional

    Returns
    -------
    target, input : (B, C, D, H, W) CuPy array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    xp = launch.array_module()
    check_packed(raw, records)
    launch.check_array(swaps, "swaps", np.int32, 4)
    samples, channels = records.shape[:2]
    if len(swaps) != samples or swaps.shape[2:] != (3, 3):
        raise ValueError(f"swaps: wanted ({samples}, T, 3, 3), got {swaps.shape}")
    iterations = swaps.shape[1]
    words = -(-iterations // _MASK_BITS)
    counts = tuple(np.int32(n) for n in (iterations, words))
    edges = tuple(np.int32(n) for n in shape)
    masks = xp.empty((samples, max(words, 1), sum(shape), 2), np.uint64)
    if iterations:
        draw = launch.kernel("swap_masks", *_SOURCES, defines=OUTPUTS[dtype])
        draw((samples,), (_THREADS,), (masks, swaps, *counts, *edges))
    target = xp.empty((samples, channels, *shape), dtype)
    input = xp.empty_like(target)
    restore = launch.kernel("restore_pairs", *_SOURCES, defines=OUTPUTS[dtype])
    kept = np.uint64(0) if arena is None else arena
    scalars = (np.int64(raw.shape[1]), *counts, np.int32(channels), *edges)
    boxes = swaps if iterations else np.uint64(0)
    restore(rows_grid(shape, samples * channels), (32, 8), (target, input, raw, kept, records, masks, boxes, *scalars))
    return target, input
