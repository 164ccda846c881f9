"""Split the slices of a series into volumes with one size and orientation and distinct positions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dali_cr.tools.importers.dicom.headers import TRAITS, Slice

SAME_DIRECTION = 1e-3
"""Tolerance for directions and spacing of slices with the same orientation, because headers are rounded."""

SAME_POSITION = 0.01
"""Tolerance in mm along each axis for slices at the same position."""

Group = list[Slice]


def split_series(slices: Sequence[Slice], sliced: bool) -> list[tuple[str, Group]]:
    """Split the slices of a series into volumes.

    Parameters
    ----------
    slices : sequence of Slice
    sliced : bool
        Whether images of this modality are slices of a volume; otherwise each image without a position is a volume.

    Returns
    -------
    volumes : list of (str, list of Slice)
        Suffix of the series' name, and slices, for each volume; the suffix is empty if there is only one volume.
    """
    alone = [] if sliced else [one for one in slices if not one.position]
    rest = list(slices) if sliced else [one for one in slices if one.position]
    groups: list[Group] = [[one] for one in alone]
    for group in _by_grid(rest):
        groups += _by_trait(group)
    if len(groups) == 1:
        return [("", groups[0])]
    return sorted((f"-{_key(group)}", group) for group in groups)


def _by_grid(slices: Sequence[Slice]) -> list[Group]:
    """Split slices by size, orientation and spacing."""
    found: list[tuple[Slice, Group]] = []
    for one in sorted(slices, key=lambda one: (one.instance, one.frame)):
        place = next((group for first, group in found if _on_one_grid(first, one)), None)
        if place is None:
            found.append((one, [one]))
        else:
            place.append(one)
    return [group for _, group in found]


def _on_one_grid(one: Slice, other: Slice) -> bool:
    if one.shape != other.shape or len(one.directions) != len(other.directions):
        return False
    if len(one.spacing) != len(other.spacing):
        return False
    numbers, others = (np.array([*some.directions, *some.spacing]) for some in (one, other))
    return bool(np.allclose(numbers, others, rtol=SAME_DIRECTION, atol=SAME_DIRECTION))


def _by_trait(group: Group) -> list[Group]:
    """Split slices that share positions by one or two traits that separate complete volumes.

    If there are no such traits, the group is not split and refused later, because of two slices at one position.
    """
    positions = len({_position(one) for one in group})
    if positions == len(group):
        return [group]
    varying = [n for n in range(len(TRAITS)) if len({one.traits[n] for one in group}) > 1]
    for chosen in [*combinations(varying, 1), *combinations(varying, 2)]:
        parts: dict[tuple[str, ...], Group] = defaultdict(list)
        for one in group:
            parts[tuple(one.traits[n] for n in chosen)].append(one)
        if all(len(part) == positions == len({_position(one) for one in part}) for part in parts.values()):
            return list(parts.values())
    return [group]


def _position(one: Slice) -> tuple[int, ...]:
    return tuple(round(mm / SAME_POSITION) for mm in one.position)


def _key(group: Group) -> str:
    """Return eight hexadecimal digits that identify a volume of a series, independent of the other volumes."""
    first = min(group, key=lambda one: (one.instance, one.frame))
    return hashlib.sha256(f"{first.instance} {first.frame}".encode()).hexdigest()[:8]
