"""`standardize`: subtract a given mean and divide by a given standard deviation (kernels/standardize.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import flushed
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_SOURCES = ("common.cuh", "standardize.cu")
VARIANTS: tuple[launch.Variant, ...] = (("standardize", _SOURCES, ()),)
_THREADS, _BLOCKS = 256, 8192
"""Threads per block; largest number of blocks."""


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
    check_volumes(volumes)
    if volumes.size:
        voxels = math.prod(volumes.shape)
        grid = (min(-(-voxels // _THREADS), _BLOCKS),)
        scalars = (np.int64(voxels), np.float64(mean), np.float64(1.0 / std))
        launch.kernel("standardize", *_SOURCES)(grid, (_THREADS,), (volumes, *scalars))
    return volumes
