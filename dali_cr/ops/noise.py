"""`add_noise`: Gaussian noise that is a pure function of seed, sample and view (kernels/noise.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops import launch
from dali_cr.ops.elementary import log2, quarter_sine

Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

_SOURCES = ("common.cuh", "elementary.cuh", "philox.cuh", "noise.cu")
VARIANTS: tuple[launch.Variant, ...] = (("add_noise", _SOURCES, ()),)
_THREADS = 256

_MINUS_2_LN_2 = np.float32(-2 * math.log(2))
_STEP = np.float32(2.0**-24)
_TINY = np.finfo(np.float32).tiny
_SMALL = 1e-18
"""Deviations below may give subnormals."""

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_CACHED_BLOCKS = 1 << 16
"""At a time on the CPU: few enough for its cache, enough that threads seldom wait for the interpreter's lock."""


def add_noise_ref(
    volumes: Floats, deviations: Floats, seed: int, counters: npt.NDArray[np.integer], out: Floats | None = None
) -> Floats:
    """Add Gaussian noise in NumPy; the definition of `add_noise`.

    A volume's voxels, all channels in a row, are four quarters of Q = ceil(voxels / 4). The Philox block
    ``(sample low, sample high, i, Purpose.NOISE | view << 8)`` under the seed gives the i-th voxel of each quarter, by
    Box and Muller's transform in float32. The normal numbers lie within 5.8 of 0 and 1e-6 of the exact transform.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32, contiguous
        Without subnormals, at most 2**34 voxels each.
    deviations : (N,) float32
        0 leaves a volume as it is, and so does a subnormal.
    seed : int
        0 <= seed < 2**64.
    counters : (N, 2) int64 or uint64
        Sample number and view, 0 <= view < 2**24.
    out : as `volumes`, contiguous, optional
        Gets the result; may be `volumes`.

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
    if volumes.size == 0:
        return out
    source, target = volumes.reshape(len(volumes), -1), out.reshape(len(volumes), -1)
    together = max(1, 4 * _CACHED_BLOCKS // source.shape[1])  # small volumes, so that each step has enough to do
    for first in range(0, len(volumes), together):
        some = slice(first, first + together)
        _add_to_some(source[some], deviations[some], seed, counters[some], target[some])
    return out


def _add_to_some(
    source: Floats, deviations: Floats, seed: int, counters: npt.NDArray[np.integer], target: Floats
) -> None:
    """Put a few (volumes, voxels) with their noise into `target`."""
    idle, small = np.abs(deviations) < _TINY, bool((np.abs(deviations) < _SMALL).any())
    if idle.all():
        target[...] = source
        return
    quarter = -(-source.shape[1] // 4)
    for first in range(0, quarter, _CACHED_BLOCKS):
        words = _draw(seed, counters, first, min(_CACHED_BLOCKS, quarter - first))
        for number, normals in enumerate((*_normals(*words[:2]), *_normals(*words[2:]))):
            begin = number * quarter + first
            before = source[:, begin : min(begin + normals.shape[1], source.shape[1])]
            noisy = normals[:, : before.shape[1]]
            noisy *= deviations[:, None]
            if small:
                noisy[np.abs(noisy) < _TINY] = 0
            noisy += before
            if small:
                noisy[np.abs(noisy) < _TINY] = 0
                noisy[idle] = before[idle]
            target[:, begin : begin + noisy.shape[1]] = noisy


def add_noise(volumes: Any, deviations: Any, seed: int, counters: Any) -> Any:
    """Add Gaussian noise on the GPU, in place; the bits are those of `add_noise_ref`.

    Parameters
    ----------
    volumes : (N, C, D, H, W) float32 CuPy array, contiguous
        Gets the result.
    deviations : (N,) float32 CuPy array, contiguous
    seed : int
        0 <= seed < 2**64.
    counters : (N, 2) int64 or uint64 CuPy array, contiguous
        Sample number and view.

    Returns
    -------
    volumes : the same array

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype, shape or layout, or the seed is out of range.
    """
    rng.check_seed(seed)
    launch.check_array(volumes, "volumes", np.float32, 5)
    launch.check_array(deviations, "deviations", np.float32, 1)
    launch.check_array(counters, "counters", np.uint64 if counters.dtype == np.uint64 else np.int64, 2)
    if len(deviations) != len(volumes) or counters.shape != (len(volumes), 2):
        raise ValueError(
            f"wanted deviations ({len(volumes)},) and counters ({len(volumes)}, 2), "
            f"got {deviations.shape} and {counters.shape}"
        )
    if volumes.size:
        voxels = math.prod(volumes.shape[1:])
        grid = (min(-(-voxels // (4 * _THREADS)), 65535), len(volumes))
        scalars = (np.int64(voxels), np.uint64(seed), np.int32(rng.Purpose.NOISE))
        launch.kernel("add_noise", *_SOURCES)(grid, (_THREADS,), (volumes, deviations, counters, *scalars))
    return volumes


def _draw(seed: int, counters: npt.NDArray[np.integer], first: int, count: int) -> tuple[Words, Words, Words, Words]:
    """Return the four words of `count` blocks from `first` on, each (counters, count)."""
    samples, views = counters.astype(np.uint64).T
    shape = (len(counters), count)
    blocks = np.broadcast_to(np.arange(first, first + count, dtype=np.uint64), shape)
    own = (samples & _LOW, samples >> _HALF, views << np.uint64(8) | np.uint64(rng.Purpose.NOISE))
    if len(counters) == 1:
        low, high, purpose = (word[0] for word in own)  # scalars, which the first rounds are cheaper for
    else:
        low, high, purpose = (np.broadcast_to(word[:, None], shape) for word in own)
    words = rng.philox_words(low, high, blocks, purpose, np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32))
    a, b, c, d = (word.astype(np.uint32) for word in words)
    return a, b, c, d


def _normals(first: Words, second: Words) -> tuple[Floats, Floats]:
    """Return two normal numbers of each pair of words: a radius, and an angle's quarter and two signs."""
    u = ((first >> np.uint32(8)) + np.uint32(1)).view(np.int32).astype(np.float32)
    u *= _STEP
    radius = log2(u)
    radius *= _MINUS_2_LN_2
    np.sqrt(radius, out=radius)
    angle = (second >> np.uint32(8)).view(np.int32).astype(np.float32)
    angle *= _STEP
    across, along = quarter_sine(np.float32(1) - angle), quarter_sine(angle)
    across *= radius
    along *= radius
    across.view(np.uint32)[...] ^= second << np.uint32(31)
    along.view(np.uint32)[...] ^= second >> np.uint32(1) << np.uint32(31)
    return across, along
