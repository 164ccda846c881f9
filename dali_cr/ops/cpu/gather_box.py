"""Views of a decoded box on the CPU, with the bits of `dali_cr.ops.gather.gather_views_ref`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dali_cr.ops.cpu.interpolate import Box, Doubles, Floats, Mode, gather_straight, gather_turned, hold
from dali_cr.ops.cpu.memory import memory
from dali_cr.volume.geometry import Triple

MARGIN = 2
"""Voxels of fill around a volume beyond which a source sees nothing else."""

_OFF_DIAGONAL = ~np.eye(3, dtype=bool)
_CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


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
    matrices, offsets = np.asarray(matrix, np.float64)[None], np.asarray(offset, np.float64)[None]
    ends = np.array([lo, np.add(lo, box.shape)]).T.tolist() if held else None
    with np.errstate(over="ignore", invalid="ignore"):
        mode = Mode(nearest, ends)
        looks = _look(matrices, offsets, out.shape, mode)
        part, bounded = _needed_part(box, lo, fill, looks)
        _gather(part, matrices, offsets, out[None], Mode(nearest, ends, looks.finite, bounded))


def gather_boxed(box: Box, matrices: Doubles, offsets: Doubles, out: Floats) -> None:
    """Gather several views of one shape on the CPU, trilinearly; the bits are those of `gather_box` for each.

    Parameters
    ----------
    box : Box
        With a `MARGIN` around the volume's voxels.
    matrices : (V, 3, 3) float64
    offsets : (V, 3) float64
    out : (V, D, H, W) float32
        Gets the views.

    Examples
    --------
    >>> view, voxels = np.empty((1, 1, 1, 4), np.float32), np.pad(np.float32([[[2, 4, 8]]]), MARGIN)
    >>> gather_boxed(Box(voxels, np.full(3, -MARGIN)), np.eye(3)[None], np.array([[0, 0, 0.5]]), view)
    >>> view[0]
    array([[[3., 6., 4., 0.]]], dtype=float32)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        looks = _look(matrices, offsets, out.shape[1:], Mode())
        inside = (looks.least >= box.first) & (looks.most <= box.first + np.array(box.voxels.shape) - 2)
        _gather(box, matrices, offsets, out, Mode(finite=looks.finite, bounded=looks.finite and bool(inside.all())))


def _gather(box: Box, matrices: Doubles, offsets: Doubles, out: Floats, mode: Mode) -> None:
    """Gather views; along one axis after the other, if nothing is turned."""
    if matrices[:, _OFF_DIAGONAL].any() or mode.nearest or not mode.bounded:
        gather_turned(box, matrices, offsets, out, mode)
        return
    for matrix, offset, view in zip(matrices, offsets, out, strict=True):
        gather_straight(box, matrix, offset, view, mode)


@dataclass(frozen=True)
class _Looks:
    """Where views look: along each axis the least and the greatest lower corner, and whether all are numbers."""

    least: Doubles
    most: Doubles
    finite: bool


def _look(matrices: Doubles, offsets: Doubles, shape: tuple[int, ...], mode: Mode) -> _Looks:
    """Return where views look.

    Every rounded step of a source grows or falls with d, h and w, so the extremes lie at the view's corners.
    """
    d, h, w = (_CORNERS * (np.array(shape) - 1)).T[..., None]
    m = matrices[:, None]
    places = (offsets[:, None] + m[..., 0] * d) + (m[..., 1] * h + m[..., 2] * w)
    finite = bool(np.isfinite(places).all())
    if mode.ends:
        places = np.stack([hold(places[..., axis], *own) for axis, own in enumerate(mode.ends)], axis=-1)
    places = np.floor(places + 0.5 if mode.nearest else places)
    return _Looks(places.min((0, 1)), places.max((0, 1)), finite)


def _needed_part(box: Floats, lo: Sequence[int], fill: float, looks: _Looks) -> tuple[Box, bool]:
    """Return what a view looks at, with `fill` around the box where it looks there, and whether that is all."""
    low = np.array(lo, np.int64)
    high = low + box.shape
    least, most = (looks.least, looks.most) if looks.finite else (low - 2.0, high + 1.0)
    bounded = looks.finite and bool((least >= low - MARGIN).all() and (most <= high).all())
    first = np.maximum(np.minimum(least, high), low - MARGIN).astype(np.int64)
    end = np.maximum(np.minimum(most, high), low - MARGIN).astype(np.int64) + 2
    there = np.maximum(first, low) - low, np.maximum(np.minimum(end, high), low) - low
    inside = tuple(slice(a, b) for a, b in zip(*there, strict=True))
    voxels = memory.take("part", tuple(end - first), np.float32)
    if (first < low).any() or (end > high).any():
        voxels.fill(fill)
    voxels[tuple(slice(s.start + n, s.stop + n) for s, n in zip(inside, low - first, strict=True))] = box[inside]
    return Box(voxels, first), bounded
