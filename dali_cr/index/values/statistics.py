"""Measure one volume: value range, foreground statistics, and a coarse map of the foreground.

The background is the most frequent raw value, if it fills at least a tenth of the volume. The foreground is all other
finite voxels, or all finite voxels without a background. (A threshold above the minimum fails on real files, because of
ringing below zero and CT in HU.)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Geometry, VolumeError

Array = npt.NDArray[np.generic]
Flags = npt.NDArray[np.bool_]
Lengths = TypeVar("Lengths", int, npt.NDArray[np.int64])

BACKGROUND_SHARE = 0.1
"""The most frequent value is background if it fills at least this share of the volume."""

PERCENTILES = (0.5, 99.5)
"""Percentiles of the foreground that `normalize="percentile"` maps to 0 and 1."""

LEVELS = (0.0, 0.5, 1.0, 2.5, *(5.0 * n for n in range(1, 20)), 97.5, 99.0, 99.5, 100.0)
"""Levels of `Statistics.percentiles` in percent; denser near the ends, where windows clip."""

MAX_CLASSES = 256
"""Largest number of classes of a label volume."""

WHOLE = 1.01e-3
"""Largest distance of a label from an integer: 0.001, plus the rounding of a float32 below 256."""

_FEW_CLASSES = 32
"""A volume with at most this many values is a label; with more values, they must be integers in patches."""

_FEW_VALUES = 1 << 10
"""Number of distinct values that are tested first."""

_FEW_VOXELS = 1 << 14
"""Number of voxels below which sorting is faster than a histogram by value."""

_MAP_CELLS = 16
"""Largest number of cells of the coarse foreground map along an axis."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of one volume's finite voxels, in values (raw * slope + intercept).

    Attributes
    ----------
    minimum, maximum : float
        Range of all finite voxels.
    mean, deviation : float
        Mean and standard deviation of the foreground.
    low, high : float
        `PERCENTILES` of the foreground.
    background : float or None
        Value of the background.
    foreground : int
        Number of foreground voxels.
    nonfinite : int
        Number of NaN and Inf.
    distinct : int
        Number of distinct finite values.
    classes : bool
        Whether the values look like a label volume: very few values, or at most `MAX_CLASSES` integers (within `WHOLE`)
        in patches, where most neighbours in the foreground are equal (in 8-bit images at most a third are).
    percentiles : (27,) float
        Percentiles of the foreground at `LEVELS`, ascending; empty in an index of an earlier version.
    image_mean, image_deviation : float or None
        Mean and standard deviation of all finite voxels, background included, in the smallest box of the canonical grid
        that contains every value other than 0; used by `normalize="zscore-image"`. None in an index of an earlier
        version.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    low: float
    high: float
    background: float | None
    foreground: int
    nonfinite: int
    distinct: int
    classes: bool
    percentiles: tuple[float, ...] = ()
    image_mean: float | None = None
    image_deviation: float | None = None

    def clipped(self, low: float, high: float) -> float | None:
        """Return the share of the foreground outside of a window; None if the percentiles are unknown.

        Values are assumed to be distributed evenly between two percentiles.

        Parameters
        ----------
        low, high : float

        Examples
        --------
        >>> flat = Statistics(0, 100, 50, 29, 0.5, 99.5, None, 101, 0, 101, False, LEVELS)
        >>> round(flat.clipped(20, 90), 6), flat.clipped(-5, 100), flat.clipped(200, 300)
        (0.3, 0.0, 1.0)
        """
        if not self.percentiles:
            return None
        return _share_below(self.percentiles, low) + _share_below([-value for value in self.percentiles[::-1]], -high)


def _share_below(percentiles: Sequence[float], bound: float) -> float:
    """Return the share of values below a bound, from their percentiles at `LEVELS`, which are symmetric."""
    above = bisect_left(percentiles, bound)
    if above in (0, len(percentiles)):
        return float(above > 0)
    first, last = percentiles[above - 1 : above + 1]
    return (LEVELS[above - 1] + (LEVELS[above] - LEVELS[above - 1]) * (bound - first) / (last - first)) / 100


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
    occupied = _occupied(canonical)
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
            classes=_are_classes(native, values, mask, geometry.slope, geometry.intercept),
            **statistics,
        ),
        _coarse_map(canonical),
        occupied,
    )


def canonical_view(raw: Array, geometry: Geometry) -> Array:
    """Return a view of the raw voxels of one frame as canonical (D, H, W).

    Parameters
    ----------
    raw : (voxels,) contiguous
    geometry : Geometry
    """
    step = raw.dtype.itemsize
    strides = tuple(step * s for s in geometry.strides)
    return np.ndarray(geometry.shape, raw.dtype, raw.data, geometry.base * step, strides)


def cell_edge(length: Lengths) -> Lengths:
    """Return the edge in voxels of the cells of the coarse map, along an axis of `length` voxels."""
    return -(-length // _MAP_CELLS)


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


def are_whole(values: Array) -> bool:
    """Whether finite values are integers, within `WHOLE`."""
    return values.dtype.kind != "f" or bool((np.abs(values - np.rint(values)) <= WHOLE).all())


def _are_classes(
    native: Array, values: Array, foreground: npt.NDArray[np.bool_], slope: float, intercept: float
) -> bool:
    """Whether the values look like classes; `native` and `foreground` are in the voxel order of the file."""
    if values.size <= _FEW_CLASSES:
        return True
    if values.dtype.kind == "f":
        # For images, a few values already rule it out.
        few = _whole_scale(values[:: 1 + values.size // _FEW_VALUES], slope, intercept)
        scale = few and _whole_scale(values, slope, intercept)
        if not scale:
            return False
        native, values = (np.rint(numbers.astype(np.float64) * scale[0] + scale[1]) for numbers in (native, values))
        values = np.unique(values)
    if not 1 < values.size <= MAX_CLASSES:
        return False
    neighbours = foreground[1:] & foreground[:-1]
    equal = np.count_nonzero(neighbours & (native[1:] == native[:-1]))
    return bool(2 * equal > np.count_nonzero(neighbours))


def _whole_scale(values: Array, slope: float, intercept: float) -> tuple[float, float] | None:
    """Return the scaling, identity or the header's, that maps values to integers of a label volume; else None."""
    for factor, offset in ((1.0, 0.0), (slope, intercept)):
        scaled = values.astype(np.float64) * factor + offset
        if are_whole(scaled) and np.unique(np.rint(scaled)).size <= MAX_CLASSES:
            return factor, offset
    return None


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
            occupied = _occupied(canonical_view(other if finite is None else other & finite, geometry))
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


def _occupied(mask: Array) -> tuple[Flags, Flags, Flags]:
    """Return whether a (D, H, W) mask is true anywhere in each slice across D, H and W."""
    # Reduce the contiguous axis first, to pass over the mask only twice; the other axes need only the reduced rows.
    along = int(np.argmin(np.abs(mask.strides)))
    rows = np.logical_or.reduce(mask, axis=along, keepdims=True)

    def across(axis: int) -> Flags:
        others = tuple({0, 1, 2} - {axis})
        return np.asarray(np.logical_or.reduce(mask if axis == along else rows, axis=others), bool)

    return across(0), across(1), across(2)


def _coarse_map(mask: Array) -> npt.NDArray[np.uint8]:
    """Return the share of each cell of a (D, H, W) mask that is true, in 255ths, rounded up."""
    edges = [cell_edge(length) for length in mask.shape]
    starts = [np.arange(0, length, edge) for length, edge in zip(mask.shape, edges, strict=True)]
    counts = np.empty([len(one) for one in starts], np.int64)
    # In slabs of cells, because reduceat converts each voxel to 8 bytes.
    for cell, start in enumerate(starts[0]):
        slab: npt.NDArray[Any] = mask[start : start + edges[0]].sum(0, dtype=np.int32)
        for axis in (1, 0):
            slab = np.add.reduceat(slab, starts[1 + axis], axis=axis, dtype=np.int64)
        counts[cell] = slab
    return np.asarray(-(-255 * counts // math.prod(edges)), np.uint8)
