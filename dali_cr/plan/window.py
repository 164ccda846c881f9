"""Boxes of a volume that crops and views cover, and the matching parts of the crops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from dali_cr.index.volumes import Case
from dali_cr.plan.sample import View
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import Spacing, resampled_shape


def shape_at(case: Case, spacing: Spacing | None) -> Triple:
    """Return the (D, H, W) of a case at a spacing.

    Raises
    ------
    ValueError
        If the case is resampled and its spacing is invalid.
    """
    try:
        return resampled_shape(case.shape, case.volumes[0].spacing, spacing)
    except ValueError as error:
        raise ValueError(f"{case.name}: {error}") from error


def box(view: View, crop: Triple, shape: Triple) -> tuple[Triple, Triple]:
    """Return the canonical box [start, stop) of the volume that a crop covers."""
    (d, h, w), (cd, ch, cw), (ld, lh, lw) = view.origin, crop, shape
    return (max(0, d), max(0, h), max(0, w)), (min(ld, d + cd), min(lh, h + ch), min(lw, w + cw))


def around(boxes: Iterable[tuple[Triple, Triple]]) -> tuple[Triple, Triple]:
    """Return the smallest canonical box [start, stop) that contains all given boxes."""
    starts, stops = zip(*boxes, strict=True)
    (d, h, w), (e, i, x) = (map(min, zip(*starts, strict=True)), map(max, zip(*stops, strict=True)))
    return (d, h, w), (e, i, x)


def slices(box: tuple[Triple, Triple], origin: Triple = (0, 0, 0)) -> tuple[slice, ...]:
    """Return a box as slices of an array that starts at voxel `origin` of the volume."""
    return tuple(slice(a - o, b - o) for a, b, o in zip(*box, origin, strict=True))


def window(view: View, crop: Triple, shape: Triple) -> tuple[slice, ...]:
    """Return the part of the flipped crop that lies inside the volume."""
    parts = []
    for origin, edge, length, flipped in zip(view.origin, crop, shape, view.flips, strict=True):
        lo, hi = max(0, -origin), min(edge, length - origin)
        parts.append(slice(edge - hi, edge - lo) if flipped else slice(lo, hi))
    return tuple(parts)


def flip(raw: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """Return a view of the voxels of a box, flipped as planned."""
    return raw[tuple(slice(None, None, -1 if flipped else 1) for flipped in view.flips)]


def as_box(pair: npt.NDArray[Any]) -> tuple[Triple, Triple]:
    """Convert an array (2, 3) of start and stop to two triples."""
    (a, b, c), (d, e, f) = pair.tolist()
    return (a, b, c), (d, e, f)


@compiled
def room(size: int, length: int) -> tuple[int, int]:
    """Return the first and last origin of a box along an axis; a box larger than the volume is centred.

    Examples
    --------
    >>> room(4, 10), room(9, 4)
    ((0, 6), (-2, -2))
    """
    spare = length - size
    if spare >= 0:
        return 0, spare
    return -(-spare // 2), -(-spare // 2)
