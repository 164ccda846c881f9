"""`adjust_contrast`: apply a gamma within the value range of each channel (kernels/contrast.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import exp2, flushed, log2
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_array, check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_THREADS, _EACH = 256, 8
"""Threads per block, and minimum number of voxels per thread."""

_MOST_PARTS = 64
"""Largest number of parts of a channel; one block finds the range of each part."""

_SOURCES = ("common.cuh", "elementary.cuh", "contrast.cu")
_DEFINES: launch.Defines = (("THREADS", str(_THREADS)),)
VARIANTS: tuple[launch.Variant, ...] = tuple(
    (entry, _SOURCES, _DEFINES) for entry in ("contrast_ranges", "contrast_power")
)

_ZERO, _ONE, _INF = np.float32(0), np.float32(1), np.float32(np.inf)


def adjust_contrast_ref(volumes: Floats, exponents: Floats, out: Floats | None = None) -> Floats:
    """Apply a gamma to each channel within its value range on the CPU; the definition of `adjust_contrast`.

    A channel with values from `low` to `high` becomes ``low + span * ((x - low) / span) ** exponent``, where `span` is
    ``high - low``: its smallest and largest value are unchanged. Values may have any sign, for example z-scores. The
    power is that of `dali_cr.ops.gamma.gamma_ref`. Channels with a span of 0 or infinity are unchanged.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without NaN and subnormals.
    exponents : (N,) float32
        One per volume, above 0; exactly 1 leaves a volume unchanged.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    adjusted : as `volumes`

    References
    ----------
    MONAI's ``AdjustContrast``: Cardoso et al.: MONAI: an open-source framework for deep learning in healthcare.
    arXiv:2211.02701, 2022.

    Examples
    --------
    >>> adjust_contrast_ref(np.float32([-1, 0, 3]).reshape(1, 1, 1, 1, 3), np.float32([0.5])).ravel()
    array([-1.,  1.,  3.], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if volumes.size:
        count = math.prod(volumes.shape[2:])
        each = np.repeat(np.ascontiguousarray(exponents, np.float32), volumes.shape[1])
        _adjust(volumes.reshape(-1, count), each, out.reshape(-1, count))
    return out


@compiled
def _adjust(volumes: Floats, exponents: Floats, out: Floats) -> None:
    """Write the result for (arrays, voxels) to `out`."""
    for number in range(volumes.shape[0]):
        source, target, exponent = volumes[number], out[number], exponents[number]
        low, high = _INF, -_INF
        for i in range(source.size):
            low, high = min(low, source[i]), max(high, source[i])
        span = flushed(high - low)
        if exponent == _ONE or not _ZERO < span < _INF:
            target[:] = source
            continue
        inverse = flushed(np.float32(1.0 / np.float64(span)))
        for i in range(source.size):
            share = flushed(flushed(source[i] - low) * inverse)
            power = exp2(log2(share) * exponent) if share > _ZERO else _ZERO
            target[i] = flushed(flushed(power * span) + low)


def adjust_contrast(volumes: Any, exponents: Any) -> Any:
    """Apply a gamma to each channel within its value range on the GPU, in place; same bits as `adjust_contrast_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Overwritten with the result.
    exponents : (N,) float32 CuPy array, contiguous

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    check_volumes(volumes)
    check_array(exponents, "exponents", np.float32, (len(volumes),))
    if volumes.size:
        arrays, voxels = math.prod(volumes.shape[:2]), math.prod(volumes.shape[2:])
        blocks = -(-voxels // (_THREADS * _EACH))
        parts = min(blocks, _MOST_PARTS)
        ranges = launch.array_module().empty((arrays, parts, 2), np.float32)
        find, adjust = (launch.kernel(entry, *_SOURCES, defines=_DEFINES) for entry, _, _ in VARIANTS)
        scalars = (np.int64(voxels), np.int32(volumes.shape[1]))
        find((parts, arrays), (_THREADS,), (ranges, volumes, exponents, *scalars))
        adjust((min(blocks, 65535), arrays), (_THREADS,), (volumes, ranges, exponents, *scalars, np.int32(parts)))
    return volumes
