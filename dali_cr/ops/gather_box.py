"""`gather_box`: one view of a decoded box on the CPU, with the bits of `dali_cr.ops.gather.gather_views_ref`."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.geometry import Triple

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_Ends = list[list[int]] | None
"""Along each axis the first voxel and one past the last, where sources are held there."""

_TINY = np.finfo(np.float32).tiny
_SAFE_BITS = np.uint32(2 * (127 - 30) << 23)
"""Twice the bits of 2**-30: of numbers that are 0 or larger, nothing subnormal comes. They are multiples of 2**-53,
fractions multiples of 2**-23: after three axes everything is a multiple of 2**-122."""

_CACHED_VOXELS = 1 << 16
"""At a time on the CPU: few enough for its cache, enough that threads seldom wait for the interpreter's lock."""

_FAR = 2.0**52
"""Outside of every volume."""

_OFF_DIAGONAL = ~np.eye(3, dtype=bool)
_CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


class _Memory(threading.local):
    """Work arrays of one thread, each of one dtype, kept from view to view: fresh memory would be page faults."""

    def __init__(self) -> None:
        self._rooms: dict[str, npt.NDArray[np.uint8]] = {}
        self._last: dict[str, npt.NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
        """Return the array of a name, with whatever is in it; the one of that name before is given up."""
        last = self._last.get(name)
        if last is not None and last.shape == shape:
            return last
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._rooms or self._rooms[name].size < size:
            self._rooms[name] = np.empty(size, np.uint8)
        self._last[name] = self._rooms[name][:size].view(dtype).reshape(shape)
        return self._last[name]


_memory = _Memory()


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


def _flush(array: Floats) -> Floats:
    return np.where(np.abs(array) < _TINY, np.float32(0), array)


def gather_box(
    box: Floats,
    lo: Sequence[int],
    fill: float,
    matrix: npt.ArrayLike,
    offset: npt.ArrayLike,
    shape: Triple,
    out: Floats,
    nearest: bool = False,
    held: bool = False,
) -> None:
    """Gather one view on the CPU from a decoded box; the bits are those of `gather_views_ref`.

    Parameters
    ----------
    box : (D, H, W) float32
        All that is there; no subnormals in it.
    lo : (3,) int
        The canonical voxel that is the box's first.
    fill : float
        What stands outside of the box.
    matrix : (3, 3) float
    offset : (3,) float
        As in `make_gather_record`.
    shape : (3,) int
    out : (D, H, W) float32
        Of that shape.
    nearest, held : bool
        As in `make_gather_record`.

    Raises
    ------
    ValueError
        If `out` has another shape, or both `nearest` and `held` are asked for.

    Examples
    --------
    >>> view = np.empty((1, 1, 4), np.float32)
    >>> gather_box(np.float32([[[2, 4, 8]]]), (0, 0, 0), 0.0, np.eye(3), (0, 0, 0.5), view.shape, view)
    >>> view
    array([[[3., 6., 4., 0.]]], dtype=float32)
    """
    if out.shape != tuple(shape):
        raise ValueError(f"out: wanted {tuple(shape)}, got {out.shape}")
    if nearest and held:
        raise ValueError("nearest, held: wanted one of them, got both")
    if out.size == 0:
        return
    matrix, offset = np.asarray(matrix, np.float64), np.asarray(offset, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.array([lo, np.add(lo, box.shape)]).T.tolist() if held else None
        part = _needed_part(box, lo, fill, matrix, offset, out.shape, nearest, ends)
        straight = not matrix[_OFF_DIAGONAL].any()
        if straight and part.bounded and not nearest:
            _gather_straight(part, matrix, offset, out, ends)
        else:
            _gather_any(part, matrix, offset, out, nearest, ends)


@dataclass(frozen=True)
class _Part:
    """What of a box a view looks at."""

    voxels: Floats
    """(D, H, W), contiguous."""
    first: npt.NDArray[np.int64]
    """The canonical voxel that is its first."""
    bounded: bool
    """Whether all sources fall into it; if not, they are to be moved to its edge, which is fill."""
    finite: bool
    """Whether all sources are numbers."""

    @cached_property
    def lerp(self) -> Callable[[Floats, Floats, Floats], None]:
        """Return what puts `lerp(a, b, fraction)` into `a`; `b` may be used up."""
        return _lerp_in_place if _is_safe(self.voxels) else _lerp_flushing


def hold(source: Doubles, lo: int, hi: int) -> Doubles:
    """Return sources along one axis, held at the edges of [lo, hi): half a voxel outside, or quite outside."""
    inside = np.minimum(np.maximum(source, lo), hi - 1)
    return np.where(source >= lo - 0.5, np.where(source > hi - 0.5, float(hi), inside), lo - 2.0)


def _needed_part(
    box: Floats,
    lo: Sequence[int],
    fill: float,
    matrix: Doubles,
    offset: Doubles,
    shape: tuple[int, ...],
    nearest: bool,
    ends: _Ends,
) -> _Part:
    """Return what a view looks at, with `fill` around the box where it looks there.

    Every rounded step of a source grows or falls with d, h and w, so the extremes lie at the view's corners.
    """
    d, h, w = (_CORNERS * (np.array(shape) - 1)).T
    places = (offset + matrix[:, 0] * d[:, None]) + (matrix[:, 1] * h[:, None] + matrix[:, 2] * w[:, None])
    finite = bool(np.isfinite(places).all())
    if ends:
        places = np.stack([hold(place, *own) for place, own in zip(places.T, ends, strict=True)], axis=-1)
    places = np.floor(places + 0.5 if nearest else places)
    low = np.array(lo, np.int64)
    high = low + box.shape
    least, most = (places.min(0), places.max(0)) if finite else (low - 2.0, high + 1.0)
    bounded = finite and bool((least >= low - 2).all() and (most <= high).all())
    first = np.maximum(np.minimum(least, high), low - 2).astype(np.int64)
    end = np.maximum(np.minimum(most, high), low - 2).astype(np.int64) + 2
    there = np.maximum(first, low) - low, np.maximum(np.minimum(end, high), low) - low
    inside = tuple(slice(a, b) for a, b in zip(*there, strict=True))
    if (first >= low).all() and (end <= high).all():
        voxels = _memory.take("part", tuple(end - first), np.float32)
        voxels[...] = box[inside]
        return _Part(voxels, first, bounded, finite)
    voxels = _memory.take("part", tuple(end - first), np.float32)
    voxels.fill(fill)
    voxels[tuple(slice(s.start + n, s.stop + n) for s, n in zip(inside, low - first, strict=True))] = box[inside]
    return _Part(voxels, first, bounded, finite)


def _is_safe(part: Floats) -> bool:
    """Whether nothing subnormal can come of interpolating between voxels: none is smaller than 2**-30 but not 0."""
    flat = part.reshape(-1).view(np.uint32)
    twice = _memory.take("twice", (min(flat.size, 2 * _CACHED_VOXELS),), np.uint32)
    for first in range(0, flat.size, twice.size):
        some = flat[first : first + twice.size]
        own = np.left_shift(some, np.uint32(1), out=twice[: some.size])
        own -= np.uint32(1)  # 0 becomes the largest
        if own.min() < _SAFE_BITS - np.uint32(1):
            return False
    return True


def _lerp_in_place(a: Floats, b: Floats, fraction: Floats) -> None:
    """Put `lerp` of what is safe into `a`; `b` is used up."""
    b -= a
    b *= fraction
    a += b


def _lerp_flushing(a: Floats, b: Floats, fraction: Floats) -> None:
    """Put `lerp` into `a`."""
    a[...] = lerp(a, b, fraction)


def _gather_straight(part: _Part, matrix: Doubles, offset: Doubles, out: Floats, ends: _Ends) -> None:
    """Gather along one axis after the other, where the matrix has nothing off its diagonal."""
    places, parts = [], []
    for axis, length in enumerate(out.shape):
        source = offset[axis] + matrix[axis, axis] * np.arange(length)
        source = hold(source, *ends[axis]) if ends else source
        below = np.floor(source)
        places.append((below - part.first[axis]).astype(np.intp))
        parts.append(fractions(source - below))
    (z, zs), (y, ys) = (np.unique(np.concatenate([p, p + 1]), return_inverse=True) for p in places[:2])
    depth, height, _ = out.shape
    rows = part.voxels[z[:, None], y] if (z.size, y.size) != part.voxels.shape[:2] else part.voxels
    values, other = (_take(f"W{i}", rows, places[2] + i, 2) for i in (0, 1))
    part.lerp(values, other, parts[2])
    values, other = _take("H0", values, ys[:height], 1), _take("H1", values, ys[height:], 1)
    part.lerp(values, other, parts[1][:, None])
    values, other = _take("D0", values, zs[:depth], 0), _take("D1", values, zs[depth:], 0)
    part.lerp(values, other, parts[0][:, None, None])
    out[...] = values


def _take(name: str, voxels: Floats, places: npt.NDArray[np.intp], axis: int) -> Floats:
    """Return the voxels at places along an axis, in the memory of a name."""
    shape = (*voxels.shape[:axis], places.size, *voxels.shape[axis + 1 :])
    return np.take(voxels, places, axis, out=_memory.take(name, shape, np.float32), mode="clip")


def _gather_any(part: _Part, matrix: Doubles, offset: Doubles, out: Floats, nearest: bool, ends: _Ends) -> None:
    """Gather planes of the output, or parts of planes, a few voxels at a time."""
    depth, plane = out.shape[0], out.shape[1] * out.shape[2]
    h, w = np.arange(out.shape[1])[:, None], np.arange(out.shape[2])
    starts = (offset + matrix[:, 0] * np.arange(depth)[:, None]).T[..., None]
    in_plane = [(matrix[i, 1] * h + matrix[i, 2] * w).reshape(-1) for i in range(3)]
    target = out.reshape(depth, plane) if out.flags.c_contiguous else np.empty((depth, plane), np.float32)
    wide = min(plane, _CACHED_VOXELS)
    deep = max(1, _CACHED_VOXELS // wide)
    for z, left in itertools.product(range(0, depth, deep), range(0, plane, wide)):
        found = target[z : z + deep, left : left + wide]
        sources = [_memory.take(f"source{axis}", found.shape, np.float64) for axis in range(3)]
        for axis, (source, start, across) in enumerate(zip(sources, starts, in_plane, strict=True)):
            np.add(start[z : z + deep], across[left : left + wide], out=source)
            if ends:
                source[...] = hold(source, *ends[axis])
            if not part.finite:
                source[~np.isfinite(source)] = -_FAR
        found[...] = _nearest(part, sources) if nearest else _interpolate(part, sources)
    if not out.flags.c_contiguous:
        out[...] = target.reshape(out.shape)


def _nearest(part: _Part, sources: list[Doubles]) -> Floats:
    """Return the voxels nearest to the sources, which are used up."""
    for source in sources:
        source += 0.5
        np.floor(source, out=source)
    return np.take(part.voxels.reshape(-1), _flat_places(part, sources), mode="clip")


def _interpolate(part: _Part, sources: list[Doubles]) -> Floats:
    """Return what lies at the sources, which are used up."""
    shape = sources[0].shape
    corners, parts = [], []
    for axis, source in enumerate(sources):
        corners.append(np.floor(source, out=_memory.take(f"corner{axis}", shape, np.float64)))
        source -= corners[axis]
        parts.append(fractions(source, _memory.take(f"fraction{axis}", shape, np.float32)))
    at, flat = _flat_places(part, corners), part.voxels.reshape(-1)
    deep, high, _ = (stride // 4 for stride in part.voxels.strides)

    def along_w(step: int, name: str) -> Floats:
        first, second = (_memory.take(one, shape, np.float32) for one in (name, "next"))
        np.take(flat[step:], at, out=first, mode="clip")
        np.take(flat[step + 1 :], at, out=second, mode="clip")
        part.lerp(first, second, parts[2])
        return first

    near, far = along_w(0, "near"), along_w(deep, "far")
    part.lerp(near, along_w(high, "row"), parts[1])
    part.lerp(far, along_w(deep + high, "row"), parts[1])
    part.lerp(near, far, parts[0])
    return near


def _flat_places(part: _Part, places: list[Doubles]) -> npt.NDArray[np.intp]:
    """Return where whole-numbered places, which are used up, lie in the flat part."""
    if not part.bounded:
        for place, first, length in zip(places, part.first.tolist(), part.voxels.shape, strict=True):
            np.clip(place, first, first + length - 2, out=place)
    strides = np.array(part.voxels.strides) // 4
    z, y, x = places
    z *= strides[0]
    y *= strides[1]
    z += y
    z += x
    z -= part.first @ strides
    at = _memory.take("at", z.shape, np.intp)
    np.copyto(at, z, casting="unsafe")
    return at
