"""`zscore`: normalise each channel by its own mean and standard deviation (kernels/zscore.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.elementary import flushed
from dali_cr.ops.cpu.lanes import LANES, sum_of
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_SOURCES = ("common.cuh", "lanes.cuh", "zscore.cu")
_DEFINES: launch.Defines = (("LANES", str(LANES)),)
VARIANTS: tuple[launch.Variant, ...] = (("zscore", _SOURCES, _DEFINES),)


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
    check_volumes(volumes)
    if volumes.size:
        score = launch.kernel("zscore", *_SOURCES, defines=_DEFINES)
        score((math.prod(volumes.shape[:2]),), (LANES,), (volumes, np.int64(math.prod(volumes.shape[2:]))))
    return volumes
