"""`add_noise`: add Gaussian noise that is a pure function of seed, sample and view (kernels/noise.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.elementary import flushed, log2, quarter_sine
from dali_cr.ops.cpu.philox import philox
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import INTEGERS, check_array, check_volumes
from dali_cr.system.compiled import compiled

Floats = npt.NDArray[np.float32]

_SOURCES = ("common.cuh", "elementary.cuh", "philox.cuh", "noise.cu")
VARIANTS: tuple[launch.Variant, ...] = (("add_noise", _SOURCES, ()),)
_THREADS = 256

_MINUS_2_LN_2 = np.float32(-2 * math.log(2))
_STEP = np.float32(2.0**-24)
_ZERO, _ONE = np.float32(0), np.float32(1)
_LOW, _HALF, _VIEW_BITS, _SPARE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8), np.uint32(8)
_PURPOSE = np.uint64(rng.Purpose.NOISE)
_TOGETHER = 128
"""Number of Philox blocks that are drawn together."""
_PARTS = tuple(np.uint64(part * _TOGETHER) for part in range(4))
"""Offsets of the four words, or normal numbers, of each block."""


def add_noise_ref(
    volumes: Floats, stds: Floats, seed: int, counters: npt.NDArray[np.integer], out: Floats | None = None
) -> Floats:
    """Add Gaussian noise on the CPU; the definition of `add_noise`.

    The voxels of a volume, all channels in sequence, are divided into four quarters of Q = ceil(voxels / 4). The Philox
    block ``(sample low, sample high, i, Purpose.NOISE | view << 8)`` under the seed gives the i-th voxel of each
    quarter, by Box and Muller's transform in float32. The normal numbers lie within 5.8 of 0 and 1e-6 of the exact
    transform.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        No subnormals, at most 2**34 voxels per volume.
    stds : (N,) float32
        Standard deviations; 0 or a subnormal leaves a volume unchanged.
    seed : int
        0 <= seed < 2**64.
    counters : (N, 2) int64 or uint64
        Sample number and view, 0 <= view < 2**24.
    out : as `volumes`, contiguous, optional
        Output array; may be `volumes`.

    Returns
    -------
    noisy : as `volumes`

    Raises
    ------
    ValueError
        If the seed is out of range.

    References
    ----------
    Box, Muller: A note on the generation of random normal deviates. Ann. Math. Stat. 29(2), 1958.

    Examples
    --------
    >>> noisy = add_noise_ref(np.zeros((1, 1, 64, 64, 64), np.float32), np.float32([0.25]), 0, np.array([[7, 0]]))
    >>> float(noisy.std().round(3))
    0.25
    """
    rng.check_seed(seed)
    out = np.empty_like(volumes) if out is None else out
    if out is not volumes:
        out[...] = volumes
    if volumes.size:
        numbers = np.ascontiguousarray(counters).astype(np.uint64)
        _add(out.reshape(len(out), -1), np.ascontiguousarray(stds), np.uint64(seed), numbers)
    return out


@compiled
def _add(volumes: Floats, stds: Floats, seed: np.uint64, counters: npt.NDArray[np.uint64]) -> None:
    """Add noise to (volumes, voxels)."""
    words, normals = np.empty(4 * _TOGETHER, np.uint32), np.empty(4 * _TOGETHER, np.float32)
    quarter = (volumes.shape[1] + 3) // 4
    for number in range(volumes.shape[0]):
        volume, std = volumes[number], stds[number]
        if flushed(std) == _ZERO:
            continue
        stream = counters[number, 1] << _VIEW_BITS | _PURPOSE
        for first in range(0, quarter, _TOGETHER):
            count = min(_TOGETHER, quarter - first)
            _draw(seed, counters[number, 0], stream, first, count, words)
            _transform(words, count, normals)
            for part in range(4):
                begin = part * quarter + first
                voxels = volume[begin : min(begin + count, volume.size)]
                for i in range(voxels.size):
                    voxels[i] = flushed(voxels[i] + flushed(normals[part * _TOGETHER + i] * std))


# Short loops without branches, with intermediate results in arrays at constant offsets, so that the compiler vectorises
# them.


@compiled
def _draw(
    seed: np.uint64, sample: np.uint64, stream: np.uint64, first: int, count: int, words: npt.NDArray[np.uint32]
) -> None:
    """Draw the four words of `count` blocks."""
    low, high, begin = sample & _LOW, sample >> _HALF, np.uint64(first)
    for i in range(np.uint64(count)):
        a, b, c, d = philox(low, high, begin + i, stream, seed)
        words[i], words[i + _PARTS[1]], words[i + _PARTS[2]], words[i + _PARTS[3]] = a, b, c, d


@compiled
def _transform(words: npt.NDArray[np.uint32], count: int, normals: Floats) -> None:
    """Convert words to normal numbers: of two words, one is the radius, the other the angle and two signs."""
    for i in range(np.uint64(count)):
        normals[i], normals[i + _PARTS[1]] = pair_of(words[i], words[i + _PARTS[1]])
        normals[i + _PARTS[2]], normals[i + _PARTS[3]] = pair_of(words[i + _PARTS[2]], words[i + _PARTS[3]])


@compiled
def pair_of(a: np.uint32, b: np.uint32) -> tuple[np.float32, np.float32]:
    """Return two normal numbers, by the Box-Muller transform."""
    radius = np.sqrt(log2(np.float32(np.int32((a >> _SPARE) + 1)) * _STEP) * _MINUS_2_LN_2)
    angle = np.float32(np.int32(b >> _SPARE)) * _STEP
    across, along = quarter_sine(_ONE - angle) * radius, quarter_sine(angle) * radius
    return _signed(across, np.uint32(b << 31)), _signed(along, np.uint32(np.uint32(b >> 1) << 31))


@compiled
def _signed(x: np.float32, sign: np.uint32) -> np.float32:
    return np.uint32(np.float32(x).view(np.uint32) ^ sign).view(np.float32)


def add_noise(volumes: Any, stds: Any, seed: int, counters: Any) -> Any:
    """Add Gaussian noise on the GPU, in place; same bits as `add_noise_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Changed in place.
    stds : (N,) float32 CuPy array, contiguous
    seed : int
        0 <= seed < 2**64.
    counters : (N, 2) int64 or uint64 CuPy array, contiguous
        Sample numbers and views.

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype, shape or layout, or the seed is out of range.
    """
    rng.check_seed(seed)
    check_volumes(volumes)
    check_array(stds, "stds", np.float32, (len(volumes),))
    check_array(counters, "counters", INTEGERS, (len(volumes), 2))
    if volumes.size:
        voxels = math.prod(volumes.shape[1:])
        grid = (min(-(-voxels // (4 * _THREADS)), 65535), len(volumes))
        scalars = (np.int64(voxels), np.uint64(seed), np.int32(rng.Purpose.NOISE))
        launch.kernel("add_noise", *_SOURCES)(grid, (_THREADS,), (volumes, stds, counters, *scalars))
    return volumes
