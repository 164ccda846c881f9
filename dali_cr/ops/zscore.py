"""`zscore`: volumes with mean 0 and deviation 1 (kernels/zscore.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.memory import memory

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LANES = 512
"""Voxel i is summed in lane i mod 512; then the lanes are summed, the upper half to the lower half, and so on."""

_SOURCES = ("common.cuh", "zscore.cu")
VARIANTS: tuple[launch.Variant, ...] = (("zscore", _SOURCES, (("LANES", str(LANES)),)),)

_ROWS = 128
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
    source, target = volumes.reshape(-1, count), out.reshape(-1, count)
    together = max(1, _ROWS * LANES // count)  # small volumes, so that each step has enough to do
    for first in range(0, len(source), together):
        some = slice(first, first + together)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = _sum(source[some], None) / count
            deviations = np.sqrt(_sum(source[some], means) / max(count - 1, 1))
            _scale(source[some], means, np.where(deviations == 0, 0, 1 / deviations), target[some])
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


def _sum(volumes: Floats, means: Doubles | None) -> Doubles:
    """Return for each of (volumes, voxels) their sum, or that of their squared distances from a mean."""
    lanes, whole = np.zeros((len(volumes), LANES)), volumes.shape[1] // LANES
    rows = volumes[:, : whole * LANES].reshape(len(volumes), whole, LANES)
    for first in range(0, whole, _ROWS):
        part = rows[:, first : first + _ROWS]
        work = memory.take("rows", (len(part), part.shape[1] + 1, LANES), np.float64)
        work[:, 0] = lanes
        _distances(part, means, work[:, 1:])
        np.add.reduce(work, axis=1, out=lanes)  # row after row: the order of a lane's sum
    rest = volumes[:, whole * LANES :]
    lanes[:, : rest.shape[1]] += _distances(rest, means, np.empty(rest.shape))
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _distances(part: Floats, means: Doubles | None, out: Doubles) -> Doubles:
    """Put voxels, or their squared distances from a mean, into `out`."""
    out[...] = part
    if means is not None:
        out -= means.reshape(-1, *(1,) * (part.ndim - 1))
        out *= out
    return out


def _scale(volumes: Floats, means: Doubles, scales: Doubles, target: Floats) -> None:
    """Put (volumes - means) * scales into `target`."""
    for first in range(0, volumes.shape[1], _ROWS * LANES):
        part, scores = (array[:, first : first + _ROWS * LANES] for array in (volumes, target))
        work = memory.take("scores", part.shape, np.float64)
        work[...] = part
        work -= means[:, None]
        work *= scales[:, None]
        scores[...] = work
        small = np.abs(scores, out=memory.take("size", part.shape, np.float32)) < _TINY
        if small.any():  # a mask that says no more is dear to write through
            scores[small] = 0
