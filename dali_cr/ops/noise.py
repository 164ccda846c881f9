"""`add_noise`: Gaussian noise that is a pure function of seed, sample and view (kernels/noise.cu)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops import launch
from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.elementary import flush, log2, quarter_sine

Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

_SOURCES = ("common.cuh", "elementary.cuh", "philox.cuh", "noise.cu")
VARIANTS: tuple[launch.Variant, ...] = (("add_noise", _SOURCES, ()),)
_THREADS = 256

_MINUS_2_LN_2 = np.float32(-2 * math.log(2))
_STEP = np.float32(2.0**-24)
_TINY = float(np.finfo(np.float32).tiny)
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
        normals = _normals(*_draw(seed, counters, first, min(_CACHED_BLOCKS, quarter - first)))
        normals *= deviations[:, None]
        if small:
            flush(normals, _TINY)
        for begin, own in zip(range(first, 4 * quarter, quarter), normals, strict=True):
            before = source[:, begin : begin + own.shape[1]]  # empty where a quarter begins past the last voxel
            noisy = own[:, : before.shape[1]]
            noisy += before
            if small:
                flush(noisy, _TINY)
                noisy[idle] = before[idle]
            target[:, begin : begin + own.shape[1]] = noisy


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


def _draw(seed: int, counters: npt.NDArray[np.integer], first: int, count: int) -> tuple[Words, Words]:
    """Return the words a and c, and b and d, of `count` blocks from `first` on: two (2, counters, count)."""
    samples, views = counters.astype(np.uint64).T
    keys = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64)
    shape = (2, len(counters), count)
    even, odd, products = (memory.take(name, shape, np.uint64) for name in ("even", "odd", "products"))
    # The first round: one of its products is the same for all blocks, the other for all counters.
    ours = rng.MULTIPLIERS[0] * (samples & _LOW)
    theirs = rng.MULTIPLIERS[1] * np.arange(first, first + count, dtype=np.uint64)
    np.bitwise_xor(theirs >> _HALF, (samples >> _HALF ^ keys[0])[:, None], out=even[0])
    even[1] = (ours >> _HALF ^ (views << np.uint64(8) | np.uint64(rng.Purpose.NOISE)) ^ keys[1])[:, None]
    odd[0], odd[1] = theirs & _LOW, (ours & _LOW)[:, None]
    for round_ in range(1, rng.ROUNDS):
        np.multiply(even, rng.MULTIPLIERS[:, None, None], out=products)
        np.right_shift(products[::-1], _HALF, out=even)
        even ^= odd
        even ^= (keys + np.uint64(round_) * rng.WEYL & _LOW)[:, None, None]
        np.bitwise_and(products[::-1], _LOW, out=odd)
    return _halves("a", even), _halves("b", odd)


def _halves(name: str, words: npt.NDArray[np.uint64]) -> Words:
    """Return words as uint32."""
    out: Words = memory.take(name, words.shape, np.uint32)
    np.copyto(out, words, casting="unsafe")
    return out


def _normals(first: Words, second: Words) -> Floats:
    """Return normal numbers, the quarters one after the other, of pairs of words, which are used up.

    A pair is a radius, and an angle's quarter and two signs.

    Parameters
    ----------
    first, second : (2, counters, count) uint32

    Returns
    -------
    normals : (4, counters, count) float32
    """
    shape = (2, 2, *first.shape[1:])
    angles, normals = (memory.take(name, shape, np.float32) for name in ("angles", "normals"))
    signs = memory.take("signs", shape, np.uint32)
    np.left_shift(second, np.uint32(31), out=signs[:, 0])
    np.left_shift(np.right_shift(second, np.uint32(1), out=signs[:, 1]), np.uint32(31), out=signs[:, 1])
    unit, radius = (memory.take(name, first.shape, np.float32) for name in ("unit", "radius"))
    _unit(first, 1, unit)
    log2(unit, out=radius)
    radius *= _MINUS_2_LN_2
    np.sqrt(radius, out=radius)
    _unit(second, 0, angles[:, 1])
    np.subtract(np.float32(1), angles[:, 1], out=angles[:, 0])
    quarter_sine(angles, out=normals)
    normals *= radius[:, None]
    normals.view(np.uint32)[...] ^= signs
    return normals.reshape(4, *first.shape[1:])


def _unit(words: Words, more: int, out: Floats) -> None:
    """Put the upper 24 bits of words, which are used up, and something more into `out`, in steps of 2**-24."""
    words >>= np.uint32(8)
    words += np.uint32(more)
    np.copyto(out, words.view(np.int32), casting="unsafe")
    out *= _STEP
