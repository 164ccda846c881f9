"""Operations of views in float64 NumPy, the reference for the CPU functions in `benchmarks.kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng

Numbers = npt.NDArray[Any]


def blur(volumes: Numbers, sigmas: Numbers) -> Numbers:
    """Blur volumes (N, C, D, H, W) with a Gaussian along each axis and reflected borders."""
    out = volumes.astype(np.float64)
    for volume, own in zip(out, sigmas.astype(np.float64), strict=True):
        for axis, sigma in enumerate(own, 1):
            radius, length = int(4 * sigma + 0.5), volume.shape[axis]
            if radius < 1:
                continue
            weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
            ends = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
            padded = np.pad(volume, ends, mode="symmetric")
            shifted = (np.take(padded, range(step, step + length), axis) for step in range(2 * radius + 1))
            volume[...] = sum(w * s for w, s in zip(weights / weights.sum(), shifted, strict=True))
    return out


def add_noise(volumes: Numbers, stds: Numbers, seed: int, counters: Numbers) -> Numbers:
    """Add normal noise from Philox blocks, by the Box-Muller transform."""
    out = volumes.astype(np.float64)
    size = volumes[0].size
    blocks = np.arange(-(-size // 4))
    for volume, std, (sample, view) in zip(out, stds, counters.tolist(), strict=True):
        purpose = int(rng.Purpose.NOISE) | view << 8
        low, high, last = (np.full_like(blocks, n) for n in (sample & 0xFFFFFFFF, sample >> 32, purpose))
        words = rng.philox(np.stack([low, high, blocks, last], -1), [seed & 0xFFFFFFFF, seed >> 32]).T
        radii = np.sqrt(-2 * np.log(((words[::2] >> 8) + 1.0) / 2**24))
        angles = np.pi / 2 * (words[1::2] >> 8) / 2**24
        signs = 1.0 - 2 * (words[1::2, None] >> np.arange(2)[:, None] & 1)
        normals = signs * radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        volume += float(std) * normals.reshape(-1)[:size].reshape(volume.shape)
    return out


def gamma(volumes: Numbers, exponents: Numbers) -> Numbers:
    """Raise the absolute values of volumes to a power and keep their signs."""
    powers = exponents.astype(np.float64).reshape(-1, 1, 1, 1, 1)
    return np.asarray(np.sign(volumes) * np.abs(volumes.astype(np.float64)) ** powers)


def adjust_contrast(volumes: Numbers, exponents: Numbers) -> Numbers:
    """Raise each channel to a power within its own range."""
    exact, powers = volumes.astype(np.float64), exponents.astype(np.float64).reshape(-1, 1, 1, 1, 1)
    low = exact.min((2, 3, 4), keepdims=True)
    span = exact.max((2, 3, 4), keepdims=True) - low
    return np.asarray(((exact - low) / span) ** powers * span + low)


def jitter(volumes: Numbers, factors: Numbers) -> Numbers:
    """Change the brightness and contrast of each channel, in the given order, and clip to 0...1."""
    out = volumes.astype(np.float64)
    for volume, (brightness, contrast, first) in zip(out, factors.astype(np.float64), strict=True):
        for change in ("contrast", "brightness") if first else ("brightness", "contrast"):
            mean = volume.mean((1, 2, 3), keepdims=True)
            changed = brightness * volume if change == "brightness" else mean + contrast * (volume - mean)
            volume[...] = np.clip(changed, 0, 1)
    return out


def standardize(volumes: Numbers, mean: float, std: float) -> Numbers:
    """Subtract a mean and divide by a standard deviation."""
    return np.asarray((volumes.astype(np.float64) - mean) / std)


def zscore(volumes: Numbers) -> Numbers:
    """Normalise volumes to mean 0 and standard deviation 1."""
    exact = volumes.astype(np.float64)
    mean, std = exact.mean((2, 3, 4), keepdims=True), exact.std((2, 3, 4), keepdims=True, ddof=1)
    return np.asarray((exact - mean) / std)
