"""`zscore`, `standardize`: normalise by the own or a given mean and standard deviation (kernels/zscore.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.elementary import flushed
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LANES = 512
"""Number of lanes: voxel i is summed in lane i mod 512; then the lanes are summed by repeated halving."""

_SOURCES = ("common.cuh", "lanes.cuh", "zscore.cu")
_DEFINES: launch.Defines = (("LANES", str(LANES)),)
VARIANTS: tuple[launch.Variant, ...] = (("zscore", _SOURCES, _DEFINES), ("standardize", _SOURCES, _DEFINES))
_THREADS, _BLOCKS = 256, 8192


def zscore_ref(volumes: Floats, out: Floats | None = None) -> Floats:
    """Normalise each channel to mean 0 and standard deviation 1 on the CPU; the definition of `zscore`.

    Sums are float64, in the same order on both devices. The standard deviation has the divisor voxels − 1, as in torch
    and TorchIO. A constant channel becomes zeros; a channel with a NaN or Inf becomes NaN.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    scores : as `volumes`

    Examples
    --------
    >>> zscore_ref(np.float32([1, 2, 3]).reshape(1, 1, 1, 1, 3)).ravel()
    array([-1.,  0.,  1.], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if volumes.size:
        count = math.prod(volumes.shape[2:])
        _score(volumes.reshape(-1, count), out.reshape(-1, count))
    return out


@compiled
def _score(volumes: Floats, out: Floats) -> None:
    """Write the z-scores of (volumes, voxels) to `out`."""
    count, lanes = volumes.shape[1], np.empty(LANES)
    for number in range(volumes.shape[0]):
        source, target = volumes[number], out[number]
        mean = sum_of(source, 0.0, False, lanes) / count
        std = np.sqrt(sum_of(source, mean, True, lanes) / max(count - 1, 1))
        scale = 0.0 if std == 0.0 else 1.0 / std
        for i in range(count):
            target[i] = flushed(np.float32((np.float64(source[i]) - mean) * scale))


@compiled
def sum_of(volume: Floats, mean: float, squared: bool, lanes: Doubles) -> Any:
    """Return the sum of voxels, or of their squared distances from a mean, with fixed order of summation."""
    lanes[:] = 0.0
    for first in range(0, volume.size, LANES):
        row = volume[first : first + LANES]
        for lane in range(row.size):
            distance = np.float64(row[lane]) - mean
            lanes[lane] += distance * distance if squared else np.float64(row[lane])
    half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]


def zscore(volumes: Any) -> Any:
    """Normalise each channel to mean 0 and standard deviation 1 on the GPU, in place; same bits as `zscore_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Changed in place.

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError
        If the array has the wrong dtype, number of axes or layout.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    if volumes.size:
        score = launch.kernel("zscore", *_SOURCES, defines=_DEFINES)
        score((math.prod(volumes.shape[:2]),), (LANES,), (volumes, np.int64(math.prod(volumes.shape[2:]))))
    return volumes


def standardize_ref(volumes: Floats, mean: float, std: float, out: Floats | None = None) -> Floats:
    """Subtract a mean and divide by a standard deviation on the CPU; the definition of `standardize`.

    Computed in float64 as ``(x - mean) * (1 / std)``, rounded once.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    mean, std : float
        `std` is above 0.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    standardized : as `volumes`

    Examples
    --------
    >>> standardize_ref(np.float32([0, 0.5, 1]).reshape(1, 1, 1, 1, 3), 0.5, 0.25).ravel()
    array([-2.,  0.,  2.], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    _standardize(volumes.reshape(-1), mean, 1.0 / std, out.reshape(-1))
    return out


@compiled
def _standardize(source: Floats, mean: float, scale: float, target: Floats) -> None:
    """Write the standardized voxels of a flat array."""
    for i in range(source.size):
        target[i] = flushed(np.float32((np.float64(source[i]) - mean) * scale))


def standardize(volumes: Any, mean: float, std: float) -> Any:
    """Subtract a mean and divide by a standard deviation on the GPU, in place; same bits as `standardize_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Changed in place.
    mean, std : float
        `std` is above 0.

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError
        If the array has the wrong dtype, number of axes or layout.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    if volumes.size:
        voxels = math.prod(volumes.shape)
        grid = (min(-(-voxels // _THREADS), _BLOCKS),)
        scalars = (np.int64(voxels), np.float64(mean), np.float64(1.0 / std))
        launch.kernel("standardize", *_SOURCES, defines=_DEFINES)(grid, (_THREADS,), (volumes, *scalars))
    return volumes
