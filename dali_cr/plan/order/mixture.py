"""`Mixture`: choose the data set of sample n, in shares by weight.

Draws are numbered like samples (with several samples of a volume in a row, like those groups). Draw n stands for point
i = 256 floor(n / 256) + p(n mod 256), p a random permutation of each run of 256, drawn from (seed, run). Point i is
x(i), van der Corput's sequence in base 2, and the data set is the one whose share of [0, 1) contains x(i). So

* of each run of 256 draws, a data set with share s has floor(256 s) or ceil(256 s); shares are rounded to 2**-32;
* within a run, data sets are in random order: ranks that use every other sample see the same mixture;
* the number of earlier points of a data set has a closed form, so sample n does not need the samples before it.

With independent draws, shares would drift by sqrt(n s (1 - s)), and there would be no closed form.

References
----------
van der Corput: Verteilungsfunktionen. Proc. Akad. Wet. Amsterdam 38 (1935) 813-821.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.plan.order.words import draw_words

Ints = npt.NDArray[np.int64]
Weights = Mapping[str, float]

RUN = 256
"""Number of draws that are permuted together; a power of two."""

BITS = 32
"""Number of bits of a point, and of the ends of shares."""


class Mixture:
    """Chooses data sets in shares by weight.

    Parameters
    ----------
    weights : sequence of float
        One per data set, at least one above 0.
    seed : int
    group : int
        Number of consecutive samples of one draw.
    """

    def __init__(self, weights: list[float], seed: int, group: int) -> None:
        self._seed, self._group, self._ends = seed, group, _ends_of(weights)
        self._run = lru_cache(maxsize=16)(self._draw_run)

    def find(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return the data set of samples, and their numbers within the data set.

        Parameters
        ----------
        numbers : (B,) int64

        Returns
        -------
        datasets, own : (B,) int64
            Each pair occurs once: samples of a data set are numbered from 0 without gaps.
        """
        draws, rest = np.divmod(numbers, self._group)
        runs, places = np.divmod(draws, RUN)
        datasets, own = np.empty_like(numbers), np.empty_like(numbers)
        for run in set(runs.tolist()):
            here = runs == run
            found, ranks = self._run(run)
            datasets[here], own[here] = found[places[here]], ranks[places[here]]
        return datasets, own * self._group + rest

    def _draw_run(self, run: int) -> tuple[Ints, Ints]:
        """Return the data set of each draw of a run, and the number of earlier points of this data set."""
        first = run * RUN
        points = first + np.arange(RUN, dtype=np.int64)
        places = _IN_RUN + _reverse(first)
        datasets = np.searchsorted(self._ends[1:], places, side="right").astype(np.int64)
        ranks = np.empty(RUN, np.int64)
        for dataset, (low, high) in enumerate(zip(self._ends[:-1].tolist(), self._ends[1:].tolist(), strict=True)):
            here = datasets == dataset
            ranks[here] = _count_below(first, high) - _count_below(first, low) + np.arange(here.sum())
        words = np.empty((RUN, 2), np.uint64)
        draw_words(np.uint64(self._seed), np.uint64(0), int(rng.Purpose.DATASET), points, words)
        order = np.argsort(words[:, 0], kind="stable")
        return datasets[order], ranks[order]


def _ends_of(weights: list[float]) -> Ints:
    """Return the rounded bounds of the shares of [0, 2**32)."""
    sums = np.cumsum([Fraction(0), *map(Fraction, weights)])
    return np.array([round(Fraction(one) / sums[-1] * 2**BITS) for one in sums], np.int64)


def _reverse(point: int) -> int:
    """Return the lowest `BITS` bits of a point in reverse order."""
    return int(f"{point % 2**BITS:0{BITS}b}"[::-1], 2)


_IN_RUN = np.array([_reverse(place) for place in range(RUN)], np.int64)
"""The first run; those of a later one are these moved by the reverse of its first point."""


def _count_below(point: int, end: int) -> int:
    """Return the number of earlier points below an end.

    Points m 2**j to (m + 1) 2**j - 1 are 2**j equally spaced ones, from the reverse of m on; `point` is cut into such.

    Examples
    --------
    >>> [_reverse(point) for point in range(4)] == [0, 2**31, 2**30, 2**31 + 2**30]
    True
    >>> _count_below(4, 2**31 + 1)
    3
    """
    whole, rest = divmod(point, 2**BITS)
    count: int = whole * end
    before = 0
    for bit in reversed(range(BITS)):
        if rest >> bit & 1:
            first = _reverse(before)
            if end > first:
                count += (end - first - 1 >> BITS - bit) + 1
            before += 1 << bit
    return count


def is_weight(weight: Any) -> bool:
    """Whether a value is a finite number of at least 0."""
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        return False
    return math.isfinite(weight) and weight >= 0


def check_weights(weights: Weights, index: Index) -> dict[str, float]:
    """Return the weight of each data set of an index, in the index's order.

    Parameters
    ----------
    weights : mapping of str to float
    index : Index

    Raises
    ------
    ValueError
        If the index has no data sets, a weight is missing, negative, not a number or of an unknown data set, all are 0,
        or a data set with a weight has no case or less than 2**-32 of the samples.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights: expected a mapping from data sets to numbers, got {weights!r}")
    if not index.datasets:
        raise ValueError("weights: expected an index of several data sets, got one without data sets; use Index.concat")
    known = ", ".join(index.datasets)
    if unknown := [name for name in weights if name not in index.datasets]:
        raise ValueError(f"weights: expected the data sets {known}, got {unknown[0]!r}")
    if missing := [name for name in index.datasets if name not in weights]:
        raise ValueError(f"weights: expected one for each of {known}, got none for {missing[0]}; 0 excludes it")
    for name, weight in weights.items():
        if not is_weight(weight):
            raise ValueError(f"weights: expected a finite number of at least 0 for {name}, got {weight!r}")
    found = {name: float(weights[name]) for name in index.datasets}
    if not any(found.values()):
        raise ValueError("weights: expected at least one above 0, got 0 for every data set")
    there = {case.dataset for case in index.cases}
    drawn = np.diff(_ends_of(list(found.values()))).tolist()
    for (name, weight), points in zip(found.items(), drawn, strict=True):
        if weight and name not in there:
            raise ValueError(f"weights: expected 0 for {name}, which has no case, got {weight:g}")
        if weight and not points:
            raise ValueError(f"weights: expected at least 2**-{BITS} of the sum for {name}, got {weight:g}; use 0")
    return found
