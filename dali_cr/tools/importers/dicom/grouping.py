"""Which slices of a series are one volume: those of one size and orientation, at positions of their own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dali_cr.tools.importers.dicom.headers import TRAITS, Slice

SAME_DIRECTION = 1e-3
"""Directions and spacing that differ by less are one orientation: headers round."""

SAME_POSITION = 0.01
"""Slices whose positions differ by less, in mm along each axis, are at one position."""

Group = list[Slice]


def split_series(slices: Sequence[Slice], sliced: bool) -> list[tuple[str, Group]]:
    """Divide the slices of a series into volumes.

    Parameters
    ----------
    slices : sequence of Slice
    sliced : bool
        Whether images of this kind are slices of a volume. Else each one without a position is an image of its own.

    Returns
    -------
    volumes : list of (str, list of Slice)
        Each with what is added to the series' name: nothing where there is one.
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
    """Divide slices by size, orientation and spacing."""
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
    """Divide slices that share positions by the one trait, or the two, that tell whole volumes apart.

    Where none do, the group stays as it is: it is refused later, for two slices at one position.
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
    """Return eight hexadecimal digits for a volume of a series, which do not depend on the other volumes."""
    first = min(group, key=lambda one: (one.instance, one.frame))
    return hashlib.sha256(f"{first.instance} {first.frame}".encode()).hexdigest()[:8]
