"""`adjust_contrast`: apply a gamma within the value range of each channel (kernels/contrast.cu).

`jitter` changes brightness and contrast by factors, as torchvision's ``ColorJitter`` does for grey images.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.elementary import exp2, flushed, log2
from dali_cr.ops.zscore import LANES, sum_of
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_THREADS, _EACH = 256, 8
"""Threads per block, and minimum number of voxels per thread."""

_MOST_PARTS = 64
"""Largest number of parts of a channel; one block finds the range of each part."""

_SOURCES = ("common.cuh", "elementary.cuh", "lanes.cuh", "contrast.cu")
_DEFINES: launch.Defines = (("THREADS", str(_THREADS)), ("LANES", str(LANES)))
VARIANTS: tuple[launch.Variant, ...] = tuple(
    (entry, _SOURCES, _DEFINES) for entry in ("contrast_ranges", "contrast_power", "jitter")
)

_TINY, _ZERO, _ONE, _INF = np.finfo(np.float32).tiny, np.float32(0), np.float32(1), np.float32(np.inf)


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
    launch.check_array(volumes, "volumes", np.float32, 5)
    launch.check_array(exponents, "exponents", np.float32, 1)
    if len(exponents) != len(volumes):
        raise ValueError(f"exponents: expected one for each of {len(volumes)} volumes, got {len(exponents)}")
    if volumes.size:
        arrays, voxels = math.prod(volumes.shape[:2]), math.prod(volumes.shape[2:])
        blocks = -(-voxels // (_THREADS * _EACH))
        parts = min(blocks, _MOST_PARTS)
        ranges = launch.array_module().empty((arrays, parts, 2), np.float32)
        find, adjust = (launch.kernel(entry, *_SOURCES, defines=_DEFINES) for entry, _, _ in VARIANTS[:2])
        scalars = (np.int64(voxels), np.int32(volumes.shape[1]))
        find((parts, arrays), (_THREADS,), (ranges, volumes, exponents, *scalars))
        adjust((min(blocks, 65535), arrays), (_THREADS,), (volumes, ranges, exponents, *scalars, np.int32(parts)))
    return volumes


def jitter_ref(volumes: Floats, factors: Floats, out: Floats | None = None) -> Floats:
    """Change brightness and contrast of each channel on the CPU; the definition of `jitter`.

    Brightness multiplies a channel by a factor. Contrast multiplies the distances to the channel's mean by a factor.
    The result of each is clipped to 0...1 and rounded to float32. Channels of a volume have the same factors, and each
    its own mean.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without NaN and subnormals.
    factors : (N, 3) float32
        Brightness, contrast, and 1 if the contrast is changed first, else 0. A volume whose factors are both exactly 1
        is unchanged, and not clipped.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    jittered : as `volumes`

    Notes
    -----
    As torchvision's ``ColorJitter`` on float images of one channel. For colour images torchvision takes the mean of the
    grey image. Pillow rounds the mean and the results to whole grey levels.

    Examples
    --------
    >>> image = np.float32([0, 0.5, 1]).reshape(1, 1, 1, 1, 3)
    >>> jitter_ref(image, np.float32([[1.5, 0.5, 0]])).ravel().round(3)
    array([0.292, 0.667, 0.792], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if volumes.size:
        count = math.prod(volumes.shape[2:])
        each = np.repeat(np.ascontiguousarray(factors, np.float32), volumes.shape[1], 0)
        _jitter(volumes.reshape(-1, count), each, out.reshape(-1, count))
    return out


@compiled
def _jitter(volumes: Floats, factors: Floats, out: Floats) -> None:
    """Write the result for (arrays, voxels) to `out`."""
    lanes = np.empty(LANES)
    for number in range(volumes.shape[0]):
        source, target = volumes[number], out[number]
        brightness, contrast = np.float64(factors[number, 0]), np.float64(factors[number, 1])
        first = factors[number, 2] != _ZERO
        if brightness == 1.0 and contrast == 1.0:
            target[:] = source
            continue
        for i in range(source.size):
            target[i] = source[i] if first else _clip(brightness * np.float64(source[i]))
        mean = sum_of(target, 0.0, False, lanes) / source.size
        rest = (1.0 - contrast) * mean
        for i in range(source.size):
            x = _clip(contrast * np.float64(target[i]) + rest)
            target[i] = _clip(brightness * np.float64(x)) if first else x


@compiled
def _clip(x: float) -> Any:
    """Return a number as float32, clipped to 0...1; subnormals become 0."""
    rounded = np.float32(x)
    if rounded < _TINY:
        return _ZERO
    return min(rounded, _ONE)


def jitter(volumes: Any, factors: Any) -> Any:
    """Change brightness and contrast of each channel on the GPU, in place; same bits as `jitter_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Overwritten with the result.
    factors : (N, 3) float32 CuPy array, contiguous

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    launch.check_array(factors, "factors", np.float32, 2)
    if factors.shape != (len(volumes), 3):
        raise ValueError(f"factors: expected ({len(volumes)}, 3), got {factors.shape}")
    if volumes.size:
        arrays, voxels = math.prod(volumes.shape[:2]), math.prod(volumes.shape[2:])
        scalars = (np.int64(voxels), np.int32(volumes.shape[1]))
        change = launch.kernel("jitter", *_SOURCES, defines=_DEFINES)
        change((arrays,), (LANES,), (volumes, factors, *scalars))
    return volumes
