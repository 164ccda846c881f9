"""`blur`: a Gaussian along each axis (kernels/blur.cu)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.elementary import exp_double, flush, least_above

Floats = npt.NDArray[np.float32]

MOST_RADIUS = 128
"""Of a kernel's shared memory; a sigma of 32."""

INT_LIMIT = 2**30
"""Volumes with at least this many voxels are indexed with 64 bits."""

_SOURCES = ("elementary.cuh", "blur.cu")
VARIANTS: tuple[launch.Variant, ...] = tuple(
    ("blur_axis", _SOURCES, (("INDEX", index), ("MOST_RADIUS", str(MOST_RADIUS)))) for index in ("int", "long long")
)
_THREADS = 256

_TRUNCATE = 4.0
_UNIT = 2.0**30
_LEAST_EXPONENT = -700.0
"""Of what `exp_double` takes; a weight's is above -33."""

_LEAST = 2.0**-70
"""Weights are multiples of 2**-30 and voxels 0 or at least 2**-70, so multiples of 2**-93: products and sums are
multiples of 2**-123, and nothing subnormal comes up, which a GPU would flush and NumPy would not."""

_CACHED_VOXELS = 1 << 16
"""At a time on the CPU: few enough for its cache, enough that threads seldom wait for the interpreter's lock."""


def blur_ref(volumes: Floats, sigmas: Floats, out: Floats | None = None) -> Floats:
    """Convolve with a Gaussian in NumPy; the definition of `blur`.

    As `scipy.ndimage.gaussian_filter` does with its defaults: along D, then H, then W, cut off at 4 sigma, borders
    reflected (d c b a | a b c d | d c b a), but summed in float32: the middle voxel, then pairs, the farthest first.
    The two differ by 1e-6 of the largest voxel at most. Voxels below 2**-70 count as 0.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals.
    sigmas : (N, 3) float32
        Along D, H, W, in voxels; below 1/8, an axis is left as it is.
    out : as `volumes`, contiguous, optional
        Gets the result; may be `volumes`.

    Returns
    -------
    blurred : as `volumes`

    Examples
    --------
    >>> blur_ref(np.float32([0, 0, 1, 0, 0]).reshape(1, 1, 1, 1, 5), np.float32([[0, 0, 0.3]])).ravel().round(4)
    array([0.    , 0.0038, 0.9923, 0.0038, 0.    ], dtype=float32)
    """
    out = np.empty_like(volumes) if out is None else out
    if out is not volumes:
        out[...] = volumes
    if out.size == 0:
        return out
    weights, shape = gaussian_weights(sigmas), out.shape[2:]
    together = max(1, _CACHED_VOXELS // math.prod(out.shape[1:]))  # small volumes, so that each step has enough to do
    for first in range(0, len(out), together):
        some, own = out[first : first + together], weights[3 * first : 3 * (first + together)]
        small = any([_flush(volume, own[3 * i : 3 * i + 3]) for i, volume in enumerate(some)])
        for axis in range(3):
            lines = some.reshape(len(some), -1, shape[axis], math.prod(shape[axis + 1 :]))
            _blur_axis(lines, own[axis::3], small)
    return out


def blur(volumes: Any, sigmas: Any, max_radius: int) -> Any:
    """Convolve with a Gaussian on the GPU, in one launch an axis; the bits are those of `blur_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Not changed.
    sigmas : (N, 3) float32 CuPy array, contiguous
        Known to be good: one that reaches further than `max_radius`, or a NaN, stops the kernel, and with it the
        process's use of the GPU.
    max_radius : int
        Of any sigma, int(4 sigma + 0.5); at most `MOST_RADIUS`.

    Returns
    -------
    blurred : (N, C, D, H, W) float32 CuPy array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout, or the radius is out of range.
    """
    launch.check_array(volumes, "volumes", np.float32, 5)
    launch.check_array(sigmas, "sigmas", np.float32, 2)
    if sigmas.shape != (len(volumes), 3):
        raise ValueError(f"sigmas: wanted ({len(volumes)}, 3), got {sigmas.shape}")
    if not 0 <= max_radius <= MOST_RADIUS:
        raise ValueError(f"max_radius: wanted 0 to {MOST_RADIUS}, a sigma of {MOST_RADIUS // 4}, got {max_radius}")
    xp = launch.array_module()
    source, target, spare = volumes, xp.empty_like(volumes), xp.empty_like(volumes)
    if volumes.size == 0:
        return target
    voxels = math.prod(volumes.shape[1:])
    entry, sources, defines = VARIANTS[voxels >= INT_LIMIT]
    along = launch.kernel(entry, *sources, defines=defines)
    number = np.int32 if voxels < INT_LIMIT else np.int64
    grid = (min(-(-voxels // _THREADS), 65535), len(volumes))
    for axis in range(3):
        lengths = (number(n) for n in (voxels, volumes.shape[2 + axis], math.prod(volumes.shape[3 + axis :])))
        along(grid, (_THREADS,), (target, source, sigmas, np.int32(axis), *lengths, np.int32(max_radius)))
        source, target, spare = target, spare, target
    return source


def gaussian_weights(sigmas: npt.ArrayLike) -> list[list[float]]:
    """Return of each sigma the middle weight and those to one side of it; none where nothing is to be done."""
    exact = np.asarray(sigmas, np.float64).reshape(-1)
    radii = [int(_TRUNCATE * sigma + 0.5) for sigma in exact.tolist()]
    scales = -0.5 / np.square(np.maximum(exact, 1 / 8))
    squares = np.square(np.arange(max(radii, default=0) + 1.0))
    terms = exp_double(np.maximum(scales[:, None] * squares, _LEAST_EXPONENT)).tolist()
    return [_scaled(own[: radius + 1]) if radius > 0 else [] for own, radius in zip(terms, radii, strict=True)]


def _scaled(terms: list[float]) -> list[float]:
    """Return weights whose sum, but for the middle one all counted twice, is 1, in whole units."""
    total = 0.0
    for term in terms[:0:-1]:
        total += term
    total = total + total + terms[0]
    return [math.floor(term / total * _UNIT + 0.5) / _UNIT for term in terms]


def _flush(volume: Floats, weights: list[list[float]]) -> bool:
    """Flush a volume that will be blurred; return whether what comes of it may have to be flushed too."""
    if not any(weights):
        return False
    # Where nothing is below 0, no sum is less than the least voxel by the least weights.
    least = least_above(volume)
    if least * math.prod(min(weight for weight in own if weight) for own in weights if own) > 2 * _LEAST:
        return False
    flush(volume, _LEAST)
    return True


def _blur_axis(volumes: Floats, weights: list[list[float]], small: bool) -> None:
    """Blur (volumes, before, length, after) along the last axis but one, in place; flush what may be small."""
    reached = [(len(own), number) for number, own in enumerate(weights) if own]
    if not reached:
        return
    # The farthest reaching first: those that a step is for are the first ones.
    order = [number for _, number in sorted(reached, reverse=True)]
    chosen = volumes[order] if len(order) < len(volumes) or order != sorted(order) else volumes
    sorted_weights = [weights[number] for number in order]
    _, before, length, after = volumes.shape
    wide = min(after, max(1, _CACHED_VOXELS // length))
    deep = max(1, _CACHED_VOXELS // (length * wide))
    for first, left in itertools.product(range(0, before, deep), range(0, after, wide)):
        _blur_part(chosen[:, first : first + deep, :, left : left + wide], sorted_weights, small)
    if chosen is not volumes:
        volumes[order] = chosen


def _blur_part(part: Floats, weights: list[list[float]], small: bool) -> None:
    """Blur a small (volumes, before, length, after) along the last axis but one, in place.

    Rows of single voxels lie padded back to back, and sums run over all of them at once; what they give for the padding
    is not looked at.
    """
    count, before, length, after = part.shape
    radius = len(weights[0]) - 1
    padded = _pad(part, radius)
    size = padded.shape[2] * after
    lines = padded.reshape((count, 1, before * size) if after == 1 else (count, before, size))
    width = lines.shape[2] - 2 * radius * after
    total, pair = (memory.take(name, (*lines.shape[:2], width), np.float32) for name in ("total", "pair"))
    table = np.zeros((radius + 1, count, 1, 1), np.float32)
    for number, own in enumerate(weights):
        table[: len(own), number, 0, 0] = own
    np.multiply(lines[..., radius * after :][..., :width], table[0], out=total)
    for step in range(radius, 0, -1):
        left, right = ((radius + side * step) * after for side in (-1, 1))
        some = sum(len(own) > step for own in weights)
        sums = np.add(lines[:some, :, left : left + width], lines[:some, :, right : right + width], out=pair[:some])
        sums *= table[step, :some]
        total[:some] += sums
    if small:
        flush(total, _LEAST)
    strides = (total.strides[0], (size if after == 1 else width) * 4, after * 4, 4)
    part[...] = np.ndarray(part.shape, np.float32, total.data, 0, strides)


def _pad(part: Floats, radius: int) -> Floats:
    """Return (volumes, before, radius + length + radius, after), reflected at the ends."""
    length = part.shape[2]
    shape = (*part.shape[:2], length + 2 * radius, part.shape[3])
    padded: Floats = memory.take("padded", shape, np.float32)
    padded[:, :, radius : radius + length] = part
    if radius <= length:
        padded[:, :, :radius] = part[:, :, :radius][:, :, ::-1]
        padded[:, :, radius + length :] = part[:, :, length - radius :][:, :, ::-1]
        return padded
    places = np.append(np.arange(-radius, 0), np.arange(length, length + radius)) % (2 * length)
    ends = part[:, :, np.where(places < length, places, 2 * length - 1 - places)]
    padded[:, :, :radius], padded[:, :, radius + length :] = ends[:, :, :radius], ends[:, :, radius:]
    return padded
