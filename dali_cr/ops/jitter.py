"""`jitter`: change brightness and contrast by factors, as torchvision's ``ColorJitter`` (kernels/jitter.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.lanes import LANES, sum_of
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_array, check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_SOURCES = ("lanes.cuh", "jitter.cu")
_DEFINES: launch.Defines = (("LANES", str(LANES)),)
VARIANTS: tuple[launch.Variant, ...] = (("jitter", _SOURCES, _DEFINES),)

_TINY, _ZERO, _ONE = np.finfo(np.float32).tiny, np.float32(0), np.float32(1)


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
    check_volumes(volumes)
    check_array(factors, "factors", np.float32, (len(volumes), 3))
    if volumes.size:
        arrays, voxels = math.prod(volumes.shape[:2]), math.prod(volumes.shape[2:])
        scalars = (np.int64(voxels), np.int32(volumes.shape[1]))
        change = launch.kernel("jitter", *_SOURCES, defines=_DEFINES)
        change((arrays,), (LANES,), (volumes, factors, *scalars))
    return volumes
