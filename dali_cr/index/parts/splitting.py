"""Split cases at random into parts that share neither a case nor an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from dali_cr import rng
from dali_cr.index.parts.connected import connected
from dali_cr.index.parts.names import describe_unknown
from dali_cr.index.volumes import Case

Together = Iterable[Iterable[str]]
"""Groups of names of cases that stay in one part."""


def split_cases(
    cases: Sequence[Case], fractions: Sequence[float], seed: int, together: Together
) -> list[tuple[Case, ...]]:
    """Return the cases of each part; see `Index.split`.

    Raises
    ------
    ValueError
        As `Index.split`.
    """
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(f"fractions: expected positive numbers with a sum of 1, got {tuple(fractions)}")
    groups = _groups(cases, together)
    total = len(groups)
    if total < len(fractions):
        raise ValueError(
            f"split: expected at least {len(fractions)} cases for as many parts, got {total}"
            f"{f', as some of the {len(cases)} stay together' * (total < len(cases))}"
        )
    order = np.argsort(rng.draw_words(seed, np.arange(total), rng.Purpose.SPLIT, 1)[:, 0], kind="stable")
    sizes = _sizes(fractions, total)
    drawn = (order[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True))
    parts = (sorted(place for group in part for place in groups[group]) for part in drawn)
    return [tuple(cases[place] for place in part) for part in parts]


def copies_of(cases: Sequence[Case]) -> tuple[tuple[str, ...], ...]:
    """Return the names of cases with a channel of equal content, in groups of two or more."""
    names = [[cases[place].name for place in group] for group in connected(map(_contents, cases))]
    return tuple(tuple(group) for group in names if len(group) > 1)


def _sizes(fractions: Sequence[float], total: int) -> list[int]:
    """Divide a number of groups by largest remainder, with at least one in each part."""
    sizes = np.array([max(1, math.floor(f * total)) for f in fractions])
    while sizes.sum() != total:  # at most one step a part
        short = np.array(fractions) * total - sizes
        if sizes.sum() < total:
            sizes[np.argmax(short)] += 1
        else:
            sizes[np.argmax(np.where(sizes > 1, -short, -np.inf))] -= 1
    return [int(size) for size in sizes]


def _groups(cases: Sequence[Case], together: Together) -> list[list[int]]:
    """Return the indices of cases, in groups that stay in one part."""
    links: dict[str, set[object]] = {case.name: set() for case in cases}
    for number, names in enumerate(together):
        for name in names:
            if name not in links:
                raise ValueError(f"together: expected names of cases, got {describe_unknown([name], links)}")
            links[name].add(number)
    return connected(links[case.name] | _contents(case) for case in cases)


def _contents(case: Case) -> set[str]:
    """Return the known hashes of the content of a case's channels."""
    return {volume.content_sha256 for volume in case.volumes} - {""}
