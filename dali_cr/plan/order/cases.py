"""`Order`: the order of cases or of their slices, optionally with weights of data sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.plan.order.mixture import Mixture, Weights, check_weights
from dali_cr.plan.order.words import draw_words
from dali_cr.recipe.slices import Slices
from dali_cr.volume.geometry import VolumeError

Ints = npt.NDArray[np.int64]


class Passes:
    """Permutes entries (cases or slices) anew in each pass.

    Parameters
    ----------
    seed : int
    places : (n,) int64
        Entries, ascending.
    owners : (n,) int64
        Case of each entry.
    repeats : int
        Consecutive samples of one entry.
    run : int
        Consecutive entries of one case; 0 for any order.
    """

    def __init__(self, seed: int, places: Ints, owners: Ints, repeats: int, run: int) -> None:
        self._seed, self._places, self._owners, self._repeats, self._run = seed, places, owners, repeats, run
        self._visited = frozenset(owners.tolist())
        self._permutation = lru_cache(maxsize=4)(self._draw_permutation)

    @property
    def length(self) -> int:
        """Samples of a pass."""
        return len(self._places) * self._repeats

    def entries(self, numbers: Ints) -> Ints:
        """Return the entry of each sample."""
        passes, steps = np.divmod(numbers, self.length)
        entries = np.empty_like(numbers)
        for one in set(passes.tolist()):
            own = passes == one
            entries[own] = self._permutation(one)[steps[own] // self._repeats]
        return entries

    def redraw(self, numbers: Ints, broken: Collection[int], entries: Ints, attempts: Ints, owners: Ints) -> None:
        """Redraw entries of broken cases until they belong to other cases.

        Parameters
        ----------
        numbers : (B,) int64
            Sample numbers.
        broken : collection of int
        entries, attempts : (B,) int64
            Updated in place.
        owners : (m,) int64
            The case of each entry of the index.

        Raises
        ------
        LookupError
            If every case is broken.
        """
        if len(broken) >= len(self._visited) and self._visited.issubset(broken):
            raise LookupError
        cases = np.array(list(broken), np.int64)
        waiting = np.flatnonzero(np.isin(owners[entries], cases))
        while waiting.size:
            attempts[waiting] += 1
            attempt = int(attempts[waiting[0]])
            words = rng.draw_words(self._seed, numbers[waiting], rng.Purpose.REDRAW, 1, attempt)
            entries[waiting] = self._places[rng.below(words[:, 0], len(self._places))]
            waiting = waiting[np.isin(owners[entries[waiting]], cases)]

    def _draw_permutation(self, number: int) -> Ints:
        """Return the permutation of the entries in a pass."""
        words = np.empty((len(self._places), 2), np.uint64)
        draw_words(np.uint64(self._seed), np.uint64(number), int(rng.Purpose.ORDER), self._places, words)
        if self._run:
            return self._places[_order_in_runs(words, self._owners, self._run)]
        return self._places[np.argsort(words[:, 0], kind="stable")]


class Order:
    """Permutes the cases of an index, or their slices, anew in each pass; with weights, each data set separately.

    Parameters
    ----------
    index : Index
    seed : int
    repeats : int
        Number of consecutive samples of one case; with slices, of consecutive slices of one case.
    slices : Slices, optional
        If given, a pass has each slice once.
    weights : mapping of str to float, optional
        Share of samples of each data set: `Mixture` chooses the data set of each sample, and each data set has separate
        passes. Without weights, a pass covers all cases.

    Attributes
    ----------
    owners : (n,) int64
        Index of the case of each entry; entries are cases or slices.
    planes : (n,) int64
        Slice number of each entry; 0 without slices.
    weights : dict of str to float, or None

    Raises
    ------
    ValueError
        If the index, or a data set with a weight, has no slice, or the weights are invalid; see `check_weights`.
    """

    def __init__(
        self, index: Index, seed: int, repeats: int, slices: Slices | None = None, weights: Weights | None = None
    ) -> None:
        self._root, self._cases = index.root, len(index)
        self.owners, self.planes = np.arange(len(index)), np.zeros(len(index), np.int64)
        run = 0
        if slices:
            self.owners, self.planes = _slices_of(index, slices)
            repeats, run = 1, repeats
        self.weights = None if weights is None else check_weights(weights, index)
        self._mixture: Mixture | None = None
        every = np.arange(len(self.owners))
        if self.weights is None:
            parts = [every]
        else:
            self._mixture = Mixture(list(self.weights.values()), seed, run or repeats)
            of_entry = np.array([case.dataset for case in index.cases])[self.owners]
            parts = [every[of_entry == name] for name in self.weights]
            for name, part in zip(self.weights, parts, strict=True):
                if self.weights[name] and not part.size:
                    raise ValueError(f"weights: expected 0 for {name}, which has no slice, got a larger one")
        self._names = ["" for _ in parts] if self.weights is None else list(self.weights)
        self._passes = [Passes(seed, part, self.owners[part], repeats, run) for part in parts]

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch: one pass over all cases with a weight above 0."""
        weights = [1.0] if self.weights is None else self.weights.values()
        return sum(passes.length for passes, weight in zip(self._passes, weights, strict=True) if weight)

    def choose(self, numbers: Ints, broken: Collection[int] = ()) -> tuple[Ints, Ints]:
        """Return the entry of each sample, and the number of entries drawn before it that belong to broken cases.

        Parameters
        ----------
        numbers : (B,) int64
        broken : collection of int
            Samples of these cases are redrawn, with weights from the same data set.

        Returns
        -------
        entries, attempts : (B,) int64

        Raises
        ------
        VolumeError
            If every case is broken, or every case of a data set with a weight.
        """
        entries, attempts = np.empty_like(numbers), np.zeros_like(numbers)
        for which, here, own in self._parts(numbers):
            found, redrawn = self._passes[which].entries(own), np.zeros_like(own)
            if broken:
                try:
                    self._passes[which].redraw(numbers[here], broken, found, redrawn, self.owners)
                except LookupError:
                    of = f"cases of {self._names[which]}" if self.weights else f"{self._cases} cases"
                    raise VolumeError(self._root, f"none of its {of} can be read") from None
            entries[here], attempts[here] = found, redrawn
        return entries, attempts

    def _parts(self, numbers: Ints) -> Iterator[tuple[int, Any, Ints]]:
        """Yield the number of each data set that is drawn from, its samples, and their numbers within the data set."""
        if self._mixture is None:
            yield 0, slice(None), numbers
            return
        datasets, own = self._mixture.find(numbers)
        for which in sorted(set(datasets.tolist())):
            here = datasets == which
            yield which, here, own[here]


def _slices_of(index: Index, slices: Slices) -> tuple[Ints, Ints]:
    """Return the case and the slice number of each slice of an index.

    Raises
    ------
    ValueError
        If there is no slice.
    """
    numbers = [slices.of(case) for case in index.cases]
    owners = np.repeat(np.arange(len(index)), [len(own) for own in numbers])
    if not owners.size:
        raise ValueError(f"slices: expected at least one slice, got none by {slices} in {len(index)} cases")
    return owners, np.concatenate(numbers)


def _order_in_runs(words: npt.NDArray[np.uint64], owners: Ints, length: int) -> Ints:
    """Return a permutation with runs of `length` entries of the same case; the last run of a case may be shorter.

    Parameters
    ----------
    words : (n, 2) uint64
        Random words; the first orders entries within a case, the second the runs.
    owners : (n,) int64
        Case of each entry, ascending.
    length : int
    """
    shuffled = np.lexsort((words[:, 0], owners))
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    rank = np.arange(len(owners)) - np.repeat(starts, np.diff(starts, append=len(owners)))
    firsts = rank % length == 0
    runs = np.argsort(words[shuffled[firsts], 1], kind="stable")
    places = np.empty(len(runs), np.int64)
    places[runs] = np.arange(len(runs))
    return np.asarray(shuffled[np.argsort(places[np.cumsum(firsts) - 1], kind="stable")])
