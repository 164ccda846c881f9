"""Voxels between voxels on the CPU: what `dali_cr.ops.cpu.gather_box` makes views with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.memory import memory
from dali_cr.ops.elementary import flush, has_below

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_TINY = float(np.finfo(np.float32).tiny)
_SAFE = (2.0**-34, 2.0**-57, 2.0**-80)
"""Of numbers that are 0 or larger, nothing subnormal comes in interpolating along D, H and W. They are multiples of
2**-57, 2**-80 and 2**-103, fractions of 2**-23; W is the first axis and D the last: all are multiples of 2**-126."""

_CACHED_VOXELS = 1 << 16
"""At a time on the CPU: few enough for its cache, enough that threads seldom wait for the interpreter's lock."""

_FAR = 2.0**52
"""Outside of every volume."""

_WHOLE = 2.0**52
"""Added to a whole number, it leaves that number in the low bits: cheaper than a conversion."""

_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))


@dataclass(frozen=True)
class Box:
    """Decoded voxels, and all that views look at beside them: outside of the volume, `fill`.

    Attributes
    ----------
    voxels : (D, H, W) float32
        Contiguous; without subnormals.
    first : (3,) int64
        The canonical voxel that is its first.
    """

    voxels: Floats
    first: npt.NDArray[np.int64]

    @cached_property
    def lerps(self) -> Sequence[Callable[[Floats, Floats, Floats], None]]:
        """What puts `lerp(a, b, fraction)` along D, H and W into `a`; `b` may be used up."""
        safe = list(itertools.dropwhile(lambda least: has_below(self.voxels, least), _SAFE))
        flushing = len(_SAFE) - len(safe)
        return [_lerp_flushing] * flushing + [_lerp_in_place] * len(safe)


@dataclass(frozen=True)
class Mode:
    """How sources become voxels.

    Attributes
    ----------
    nearest : bool
        Take the nearest voxel.
    ends : list of pair of int, optional
        Along each axis the first voxel and one past the last, where sources are held there.
    finite : bool
        Whether all sources are numbers.
    bounded : bool
        Whether all fall into the box; if not, they are moved to its edge, which is `fill`.
    """

    nearest: bool = False
    ends: list[list[int]] | None = None
    finite: bool = True
    bounded: bool = True


def lerp(a: Floats, b: Floats, fraction: Floats) -> Floats:
    """Return a + fraction * (b - a), rounded and subnormals flushed at each step."""
    return _flush(a + _flush(fraction * _flush(b - a)))


def fractions(parts: Doubles, out: Floats | None = None) -> Floats:
    """Return fractions as float32 in steps of 2**-23."""
    out = np.empty(parts.shape, np.float32) if out is None else out
    np.copyto(out, parts, casting="same_kind")
    out += np.float32(1)
    out -= np.float32(1)
    return out


def hold(source: Doubles, lo: int, hi: int) -> Doubles:
    """Return sources along one axis, held at the edges of [lo, hi): half a voxel outside, or quite outside."""
    inside = np.minimum(np.maximum(source, lo), hi - 1)
    return np.where(source >= lo - 0.5, np.where(source > hi - 0.5, float(hi), inside), lo - 2.0)


def gather_straight(box: Box, matrix: Doubles, offset: Doubles, out: Floats, mode: Mode) -> None:
    """Gather a view along one axis after the other, where the matrix has nothing off its diagonal.

    Parameters
    ----------
    box : Box
    matrix : (3, 3) float64
    offset : (3,) float64
    out : (D, H, W) float32
    mode : Mode
        Bounded, and not to the nearest.
    """
    places, parts = [], []
    for axis, length in enumerate(out.shape):
        source = offset[axis] + matrix[axis, axis] * np.arange(length)
        source = hold(source, *mode.ends[axis]) if mode.ends else source
        below = np.floor(source)
        places.append((below - box.first[axis]).astype(np.intp))
        parts.append(fractions(source - below))
    (z, zs), (y, ys) = (np.unique(np.concatenate([p, p + 1]), return_inverse=True) for p in places[:2])
    depth, height, _ = out.shape
    rows = box.voxels[z[:, None], y] if (z.size, y.size) != box.voxels.shape[:2] else box.voxels
    values, other = (_take(f"W{i}", rows, places[2] + i, 2) for i in (0, 1))
    along_d, along_h, along_w = box.lerps
    along_w(values, other, parts[2])
    values, other = _take("H0", values, ys[:height], 1), _take("H1", values, ys[height:], 1)
    along_h(values, other, parts[1][:, None])
    values, other = _take("D0", values, zs[:depth], 0), _take("D1", values, zs[depth:], 0)
    along_d(values, other, parts[0][:, None, None])
    out[...] = values


def gather_turned(box: Box, matrices: Doubles, offsets: Doubles, out: Floats, mode: Mode) -> None:
    """Gather several views, or planes of one, or rows of a plane at a time.

    Parameters
    ----------
    box : Box
    matrices : (V, 3, 3) float64
    offsets : (V, 3) float64
    out : (V, D, H, W) float32
    mode : Mode
    """
    count, depth, height, width = out.shape
    d, h, w = np.arange(depth), np.arange(height)[:, None], np.arange(width)
    starts = (offsets[..., None] + matrices[..., :1] * d)[..., None, None]
    in_plane = (matrices[..., 1, None, None] * h + matrices[..., 2, None, None] * w)[:, :, None]
    many = max(1, _CACHED_VOXELS // (depth * height * width))
    deep = max(1, _CACHED_VOXELS // (height * width))
    high = max(1, _CACHED_VOXELS // width)
    for v, z, y in itertools.product(range(0, count, many), range(0, depth, deep), range(0, height, high)):
        some, rows = slice(v, v + many), slice(y, y + high)
        target = out[some, z : z + deep, rows]
        sources = _Sources(starts[some, :, z : z + deep], in_plane[some, :, :, rows], target.shape)
        target[...] = _nearest(box, sources, mode) if mode.nearest else _interpolate(box, sources, mode)


@dataclass(frozen=True)
class _Sources:
    """Where some voxels lie in the volume."""

    starts: Doubles
    """(V, 3, D, 1, 1)"""
    in_plane: Doubles
    """(V, 3, 1, H, W)"""
    shape: tuple[int, ...]

    def along(self, axis: int, mode: Mode) -> Doubles:
        """Return the sources along an axis, in memory that is used again for the next."""
        source = np.add(self.starts[:, axis], self.in_plane[:, axis], out=_doubles("source", self.shape))
        if mode.ends:
            source[...] = hold(source, *mode.ends[axis])
        if not mode.finite:
            source[~np.isfinite(source)] = -_FAR
        return source


def _nearest(box: Box, sources: _Sources, mode: Mode) -> Floats:
    """Return the voxels nearest to the sources."""
    at = _doubles("at", sources.shape)
    for axis in range(3):
        source = sources.along(axis, mode)
        source += 0.5
        _add_place(box, axis, np.floor(source, out=source), at, mode)
    return _voxels(box, 0, _finish_places(box, at), _floats("low", sources.shape))


def _interpolate(box: Box, sources: _Sources, mode: Mode) -> Floats:
    """Return what lies at the sources."""
    at, parts = _doubles("at", sources.shape), []
    for axis in range(3):
        source = sources.along(axis, mode)
        below = np.floor(source, out=_doubles("below", sources.shape))
        source -= below
        parts.append(fractions(source, _floats(f"fraction{axis}", sources.shape)))
        _add_place(box, axis, below, at, mode)
    places = _finish_places(box, at)
    low, high = (_floats(name, (2, 2, *sources.shape)) for name in ("low", "high"))
    for z, y in itertools.product((0, 1), (0, 1)):
        for x, values in enumerate((low, high)):
            _voxels(box, z * box.voxels[0].size + y * box.voxels.shape[2] + x, places, values[z, y])
    along_d, along_h, along_w = box.lerps
    along_w(low, high, parts[2])
    along_h(low[:, 0], low[:, 1], parts[1])
    found: Floats = low[0, 0]
    along_d(found, low[1, 0], parts[0])
    return found


def _add_place(box: Box, axis: int, place: Doubles, at: Doubles, mode: Mode) -> None:
    """Add whole-numbered places along an axis, which are used up, to where they lie in the flat box."""
    if not mode.bounded:
        np.clip(place, box.first[axis], box.first[axis] + box.voxels.shape[axis] - 2, out=place)
    step = box.voxels.strides[axis] // 4
    if axis == 0:
        np.multiply(place, step, out=at)
        return
    if step != 1:
        place *= step
    at += place


def _finish_places(box: Box, at: Doubles) -> npt.NDArray[np.int64]:
    """Return places in the flat box as integers, in the same memory."""
    at += _WHOLE - float(box.first @ np.array(box.voxels.strides)) / 4
    places = at.view(np.int64)
    places -= _WHOLE_BITS
    return places


def _voxels(box: Box, step: int, places: npt.NDArray[np.int64], out: Floats) -> Floats:
    """Return the voxels a step after the places, in `out`."""
    # Nothing is outside; "raise", the default, would make a copy.
    return np.take(box.voxels.reshape(-1)[step:], places, out=out, mode="wrap")


def _take(name: str, voxels: Floats, places: npt.NDArray[np.intp], axis: int) -> Floats:
    """Return the voxels at places along an axis, in the memory of a name."""
    shape = (*voxels.shape[:axis], places.size, *voxels.shape[axis + 1 :])
    return np.take(voxels, places, axis, out=_floats(name, shape), mode="clip")


def _lerp_in_place(a: Floats, b: Floats, fraction: Floats) -> None:
    """Put `lerp` of what is safe into `a`; `b` is used up."""
    b -= a
    b *= fraction
    a += b


def _lerp_flushing(a: Floats, b: Floats, fraction: Floats) -> None:
    """Put `lerp` into `a`; `b` is used up."""
    b -= a
    flush(b, _TINY)
    b *= fraction
    flush(b, _TINY)
    a += b
    flush(a, _TINY)


def _flush(array: Floats) -> Floats:
    return np.where(np.abs(array) < _TINY, np.float32(0), array)


def _floats(name: str, shape: tuple[int, ...]) -> Floats:
    array: npt.NDArray[Any] = memory.take(name, shape, np.float32)
    return array


def _doubles(name: str, shape: tuple[int, ...]) -> Doubles:
    array: npt.NDArray[Any] = memory.take(name, shape, np.float64)
    return array
