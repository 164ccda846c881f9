"""Measure one volume: value range, foreground statistics, and a coarse map of the foreground.

The background is the most frequent raw value, if it fills at least a tenth of the volume. The foreground is all other
finite voxels, or all finite voxels without a background. (A threshold above the minimum fails on real files, because of
ringing below zero and CT in HU.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import Array, Flags, canonical_view, coarse_map, occupied_slices
from dali_cr.index.values.classes import are_classes
from dali_cr.index.values.statistics import LEVELS, PERCENTILES, Statistics
from dali_cr.volume.geometry import Geometry, VolumeError

BACKGROUND_SHARE = 0.1
"""The most frequent value is background if it fills at least this share of the volume."""

_FEW_VOXELS = 1 << 14
"""Number of voxels below which sorting is faster than a histogram by value."""

_PIECE = 1 << 22
"""Number of voxels that are counted together."""


def measured_bytes(geometry: Geometry) -> int:
    """Return the minimum of additional memory in bytes that `measure` needs for one frame."""
    dtype = geometry.numpy_dtype
    sorted_copies = 2 if dtype.kind == "f" else int(dtype.itemsize > 2)
    # The foreground mask needs one byte per voxel.
    return geometry.voxels * max(1, sorted_copies * dtype.itemsize)


def measure(
    path: object, raw: Array, geometry: Geometry
) -> tuple[Statistics, npt.NDArray[np.uint8], tuple[Flags, Flags, Flags]]:
    """Measure one frame.

    Parameters
    ----------
    path : object
        File name, for messages.
    raw : (voxels,) of the file's dtype and byte order
    geometry : Geometry

    Returns
    -------
    statistics : Statistics
    foreground : (cells_d, cells_h, cells_w) uint8
        Share of foreground in each cell of the canonical grid, in 255ths of a full cell, rounded up; the edge of a cell
        is `cell_edge(length)`.
    occupied : tuple of (D,), (H,) and (W,) bool
        Whether each slice across each axis of the canonical grid contains foreground.

    Raises
    ------
    VolumeError
        If no voxel is finite, all finite voxels are equal, or the values are so large that their statistics are not
        finite.
    """
    native = np.ascontiguousarray(raw, raw.dtype.newbyteorder("="))
    finite = np.isfinite(native) if native.dtype.kind == "f" else None
    values, counts = _histogram(native if finite is None else native[finite])
    if values.size == 0:
        raise VolumeError(path, "no finite voxel")
    if values.size == 1:
        raise VolumeError(
            path, f"constant: every finite voxel is {float(values[0]) * geometry.slope + geometry.intercept:g}"
        )
    most = int(np.argmax(counts))
    has_background = bool(counts[most] >= BACKGROUND_SHARE * native.size)
    background = values[most] if has_background else None
    keep = np.ones(values.size, bool)
    keep[most] = not has_background
    mask = np.ones(native.size, bool) if background is None else native != background
    if finite is not None:
        mask &= finite
    canonical = canonical_view(mask, geometry)
    occupied = occupied_slices(canonical)
    with np.errstate(over="ignore", invalid="ignore"):
        statistics = _summarise(values.astype(np.float64), counts, keep, geometry)
        statistics |= _summarise_box(native, finite, values, counts, occupied if has_background else None, geometry)
    if not np.isfinite([value for value in statistics.values() if not isinstance(value, tuple)]).all():
        raise VolumeError(path, "values too large for a mean and standard deviation; the header or the data are wrong")
    return (
        Statistics(
            background=None if background is None else float(background) * geometry.slope + geometry.intercept,
            nonfinite=0 if finite is None else int(native.size - np.count_nonzero(finite)),
            distinct=int(values.size),
            classes=are_classes(native, values, mask, geometry.slope, geometry.intercept),
            **statistics,
        ),
        coarse_map(canonical),
        occupied,
    )


def _histogram(finite: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the distinct values in ascending order and their counts."""
    if finite.dtype.itemsize > 2 or finite.dtype.kind == "f" or finite.size < _FEW_VOXELS:
        values, counts = np.unique(finite, return_counts=True)
        return values, counts.astype(np.int64)
    low = -(256**finite.dtype.itemsize // 2) if finite.dtype.kind == "i" else 0
    unsigned = finite.view(f"u{finite.dtype.itemsize}")
    # In pieces, because bincount converts each voxel to 8 bytes.
    pieces = (unsigned[start : start + _PIECE] for start in range(0, unsigned.size, _PIECE))
    counts = np.zeros(256**finite.dtype.itemsize, np.int64)
    for piece in pieces:
        counts += np.bincount(piece, minlength=counts.size)
    counts = np.roll(counts, -low) if low < 0 else counts
    present = np.flatnonzero(counts)
    return (present + low).astype(finite.dtype), counts[present]


def _summarise(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_], geometry: Geometry
) -> dict[str, Any]:
    """Return range and foreground statistics, after scaling by slope and intercept."""
    slope, intercept = geometry.slope, geometry.intercept
    inner, weight = values[keep], counts[keep]
    total = int(weight.sum())
    mean = float((inner * weight).sum() / total)
    std = math.sqrt(float(((inner - mean) ** 2 * weight).sum() / total))
    curve = _percentiles(inner, weight, LEVELS)
    low, high = (curve[LEVELS.index(q)] for q in PERCENTILES)
    ends = sorted((float(values[0]) * slope + intercept, float(values[-1]) * slope + intercept))
    bounds = sorted((low * slope + intercept, high * slope + intercept))
    return {
        "minimum": ends[0],
        "maximum": ends[1],
        "mean": mean * slope + intercept,
        "deviation": std * abs(slope),
        "low": bounds[0],
        "high": bounds[1],
        "foreground": total,
        "percentiles": tuple(sorted(value * slope + intercept for value in curve)),
    }


def _summarise_box(
    native: Array,
    finite: Flags | None,
    values: Array,
    counts: npt.NDArray[np.int64],
    occupied: tuple[Flags, Flags, Flags] | None,
    geometry: Geometry,
) -> dict[str, float]:
    """Return the mean and standard deviation in the smallest box that contains every value other than 0.

    Parameters
    ----------
    native : (voxels,)
        Raw voxels in the order of the file.
    finite : (voxels,) bool, optional
        Finite voxels. Default: all.
    values, counts : (n,)
        Histogram of the finite voxels.
    occupied : three (length,) bool, optional
        Slices with foreground, if there is a background.
    geometry : Geometry
    """
    slope, intercept = geometry.slope, geometry.intercept
    numbers = values.astype(np.float64)
    # Values that are 0 as float32; scaling keeps the order, so they are adjacent.
    zeros = np.flatnonzero(np.abs(numbers * slope + intercept) < np.finfo(np.float32).tiny)
    weights = counts.copy()
    if zeros.size and zeros.size < values.size:
        if occupied is None or zeros.tolist() != [int(np.argmax(counts))]:
            other = (native < values[zeros[0]]) | (native > values[zeros[-1]])
            occupied = occupied_slices(canonical_view(other if finite is None else other & finite, geometry))
        box = tuple(slice(int(flags.argmax()), flags.size - int(flags[::-1].argmax())) for flags in occupied)
        inside = math.prod(part.stop - part.start for part in box)
        if finite is not None:
            inside = int(np.count_nonzero(canonical_view(finite, geometry)[box]))
        weights[zeros] = 0
        weights[zeros[0]] = inside - int(weights.sum())
    mean = float((numbers * weights).sum() / weights.sum())
    std = math.sqrt(float(((numbers - mean) ** 2 * weights).sum() / weights.sum()))
    return {"image_mean": mean * slope + intercept, "image_deviation": std * abs(slope)}


def _percentiles(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], levels: Sequence[float]
) -> list[float]:
    """Return percentiles, interpolated linearly between ranks as `numpy.percentile` does."""
    upto = np.cumsum(counts)
    ranks = [q / 100 * (int(upto[-1]) - 1) for q in levels]
    found = []
    for rank in ranks:
        below, above = (
            float(values[np.searchsorted(upto, r, side="right")]) for r in (math.floor(rank), math.ceil(rank))
        )
        found.append(below + (above - below) * (rank - math.floor(rank)))
    return found
