"""`zscore`: volumes with mean 0 and deviation 1 (kernels/zscore.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LANES = 512
"""Voxel i is summed in lane i mod 512; then the lanes are summed, the upper half to the lower half, and so on."""

_SOURCES = ("common.cuh", "zscore.cu")
VARIANTS: tuple[launch.Variant, ...] = (("zscore", _SOURCES, (("LANES", str(LANES)),)),)

_ROWS = 64
"""Of so many voxels a lane at a time on the CPU, so that the float64 values in between stay in its cache."""

_TINY = np.finfo(np.float32).tiny


def zscore_ref(volumes: Floats, out: Floats | None = None) -> Floats:
    """Subtract each channel's mean and divide by its deviation in NumPy; the definition of `zscore`.

    Sums are float64, in one order on both devices; the deviation is that of a sample, over voxels − 1, as torch and
    TorchIO have it. A constant channel becomes zeros; one with a NaN or Inf becomes NaN.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    out : as `volumes`, contiguous, optional
        Gets the result; may be `volumes`.

    Returns
    -------
    scores : as `volumes`

    Examples
    --------
    >>> zscore_ref(np.float32([1, 2, 3]).reshape(1, 1, 1, 1, 3)).ravel()
    array([-1.,  0.,  1.], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if volumes.size == 0:
        return out
    count = math.prod(volumes.shape[2:])
    for volume, target in zip(volumes.reshape(-1, count), out.reshape(-1, count), strict=True):
        with np.errstate(invalid="ignore"):
            mean = _sum(volume, None) / count
            deviation = np.sqrt(_sum(volume, mean) / max(count - 1, 1))
            scale = np.float64(0) if deviation == 0 else 1 / deviation
            _scale(volume, mean, scale, target)
    return out


def zscore(volumes: Any) -> Any:
    """Subtract each channel's mean and divide by its deviation on the GPU, in place; the bits are `zscore_ref`'s.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Gets the result.

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError
        If the array has another dtype, number of axes or layout.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    if volumes.size:
        ((entry, sources, defines),) = VARIANTS
        score = launch.kernel(entry, *sources, defines=defines)
        score((math.prod(volumes.shape[:2]),), (LANES,), (volumes, np.int64(math.prod(volumes.shape[2:]))))
    return volumes


def _sum(volume: Floats, mean: np.float64 | None) -> np.float64:
    """Return the sum of the voxels, or of their squared distances from a mean."""
    lanes, whole = np.zeros(LANES), volume.size // LANES
    rows = volume[: whole * LANES].reshape(whole, LANES)
    work = np.empty((_ROWS + 1, LANES))
    for first in range(0, whole, _ROWS):
        part = rows[first : first + _ROWS]
        work[0], terms = lanes, work[1 : len(part) + 1]
        terms[...] = part
        if mean is not None:
            terms -= mean
            terms *= terms
        np.add.reduce(work[: len(part) + 1], axis=0, out=lanes)  # row after row: the order of a lane's sum
    rest = volume[whole * LANES :].astype(np.float64)
    if mean is not None:
        rest -= mean
        rest *= rest
    lanes[: rest.size] += rest
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return np.float64(lanes[0])


def _scale(volume: Floats, mean: np.float64, scale: np.float64, target: Floats) -> None:
    """Put (volume - mean) * scale into `target`."""
    for first in range(0, volume.size, _ROWS * LANES):
        part = volume[first : first + _ROWS * LANES].astype(np.float64)
        part -= mean
        part *= scale
        scores = part.astype(np.float32)
        scores[np.abs(scores) < _TINY] = 0
        target[first : first + _ROWS * LANES] = scores
