"""`blur`: Gaussian blur along each axis (kernels/blur.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.convolve import blur_axis
from dali_cr.ops.cpu.elementary import exp_double
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import check_array, check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

MOST_RADIUS = 128
"""Largest radius, limited by the shared memory of the kernel; corresponds to a sigma of 32."""

INT_LIMIT = 2**30
"""Volumes with at least this many voxels are indexed with 64 bits."""

_SOURCES = ("elementary.cuh", "blur.cu")
VARIANTS: tuple[launch.Variant, ...] = tuple(
    ("blur_axis", _SOURCES, (("INDEX", index), ("MOST_RADIUS", str(MOST_RADIUS)))) for index in ("int", "long long")
)
_THREADS, _BLOCKS = 256, 8192
"""Threads per block; largest number of blocks per launch, unless there are more volumes."""

_TRUNCATE = 4.0
_UNIT = 2.0**30
_LEAST_EXPONENT = -700.0
"""Smallest argument of `exp_double`; exponents of weights are above -33."""


def blur_ref(volumes: Floats, sigmas: Floats, out: Floats | None = None) -> Floats:
    """Convolve with a Gaussian on the CPU; the definition of `blur`.

    Like `scipy.ndimage.gaussian_filter` with its defaults: along D, then H, then W, truncated at 4 sigma, with
    reflected borders (d c b a | a b c d | d c b a). Sums are float32: the middle voxel, then pairs, farthest first. The
    difference to SciPy is at most 1e-6 of the largest voxel. Voxels below 2**-70 count as 0.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    sigmas : (N, 3) float32
        Sigmas along D, H, W in voxels; an axis with a sigma below 1/8 is not blurred.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    blurred : as `volumes`

    Raises
    ------
    ValueError
        If a sigma is not finite.

    Examples
    --------
    >>> blur_ref(np.float32([0, 0, 1, 0, 0]).reshape(1, 1, 1, 1, 5), np.float32([[0, 0, 0.3]])).ravel().round(4)
    array([0.    , 0.0038, 0.9923, 0.0038, 0.    ], dtype=float32)
    """
    if not np.isfinite(sigmas).all():
        raise ValueError(f"sigmas: expected finite numbers, got {np.asarray(sigmas).tolist()}")
    out = np.empty_like(volumes) if out is None else out
    if out is not volumes:
        out[...] = volumes
    if out.size:
        _blur(out.reshape(len(out), -1), out.shape[1:], np.ascontiguousarray(sigmas))
    return out


@compiled
def _blur(volumes: Floats, shape: tuple[int, int, int, int], sigmas: Floats) -> None:
    """Blur (volumes, voxels) in place, axis by axis."""
    for number in range(volumes.shape[0]):
        after = shape[1] * shape[2] * shape[3]
        for axis in range(3):
            length = shape[1 + axis]
            after //= length
            weights = gaussian_weights(sigmas[number, axis])
            if weights.size > 1:
                blur_axis(volumes[number], length, after, weights)


@compiled
def gaussian_weights(sigma: float) -> Floats:
    """Return the weights of a Gaussian from the middle outwards; only the weight 1 if sigma is too small to blur."""
    radius = max(int(_TRUNCATE * np.float64(sigma) + 0.5), 0)
    terms, scale = np.ones(radius + 1), -0.5 / (np.float64(sigma) * np.float64(sigma))
    for step in range(1, radius + 1):
        terms[step] = exp_double(max(scale * np.float64(step * step), _LEAST_EXPONENT))
    total = 0.0
    for step in range(radius, 0, -1):
        total += terms[step]
    total = total + total + terms[0]
    weights = np.empty(radius + 1, np.float32)
    for step in range(radius + 1):
        weights[step] = np.floor(terms[step] / total * _UNIT + 0.5) / _UNIT
    return weights


def blur(volumes: Any, sigmas: Any, max_radius: int) -> Any:
    """Convolve with a Gaussian on the GPU, with one launch per axis; same bits as `blur_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Unchanged.
    sigmas : (N, 3) float32 CuPy array, contiguous
        Must be valid; not checked: a sigma whose radius is above `max_radius`, or a NaN, traps the kernel, after which
        the process cannot use the GPU.
    max_radius : int
        Largest radius, int(4 sigma + 0.5), of all sigmas; at most `MOST_RADIUS`.

    Returns
    -------
    blurred : (N, C, D, H, W) float32 CuPy array

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the radius is out of range.
    """
    check_volumes(volumes)
    check_array(sigmas, "sigmas", np.float32, (len(volumes), 3))
    if not 0 <= max_radius <= MOST_RADIUS:
        raise ValueError(f"max_radius: expected 0 to {MOST_RADIUS}, a sigma of {MOST_RADIUS // 4}, got {max_radius}")
    xp = launch.array_module()
    source, target, spare = volumes, xp.empty_like(volumes), xp.empty_like(volumes)
    if volumes.size == 0:
        return target
    voxels = math.prod(volumes.shape[1:])
    entry, sources, defines = VARIANTS[voxels >= INT_LIMIT]
    along = launch.kernel(entry, *sources, defines=defines)
    number = np.int32 if voxels < INT_LIMIT else np.int64
    grid = (min(-(-voxels // _THREADS), max(_BLOCKS // len(volumes), 1)), len(volumes))
    for axis in range(3):
        lengths = (number(n) for n in (voxels, volumes.shape[2 + axis], math.prod(volumes.shape[3 + axis :])))
        along(grid, (_THREADS,), (target, source, sigmas, np.int32(axis), *lengths, np.int32(max_radius)))
        source, target, spare = target, spare, target
    return source
