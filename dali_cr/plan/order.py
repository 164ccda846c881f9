"""Which case, or which slice of a case, sample n is of."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.ops.cpu.philox import draw_pair
from dali_cr.recipe.slices import Slices
from dali_cr.system.compiled import compiled
from dali_cr.volume.geometry import VolumeError

Ints = npt.NDArray[np.int64]


_HALF = np.uint64(32)


class Order:
    """The cases of an index, or their slices, in a new permutation each epoch.

    Parameters
    ----------
    index : Index
    seed : int
    repeats : int
        Consecutive samples of one case; with slices, consecutive slices of one case.
    slices : Slices, optional
        An epoch then has each slice once.

    Attributes
    ----------
    owners : (n,) int64
        The case of each entry: of each case, or of each slice.
    planes : (n,) int64
        The number of each slice in its case; 0 without slices.

    Raises
    ------
    ValueError
        If no slice is left.
    """

    def __init__(self, index: Index, seed: int, repeats: int, slices: Slices | None = None) -> None:
        self._seed, self._root, self._cases = seed, index.root, len(index)
        self.owners, self.planes = np.arange(len(index)), np.zeros(len(index), np.int64)
        self._repeats, self._run = repeats, 0
        if slices:
            self.owners, self.planes = _slices_of(index, slices)
            self._repeats, self._run = 1, repeats
        self._visited = frozenset(self.owners.tolist())
        self._permutation = lru_cache(maxsize=4)(self._draw_permutation)

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return len(self.owners) * self._repeats

    def choose(self, numbers: Ints, broken: Collection[int] = ()) -> tuple[Ints, Ints]:
        """Return which entries samples are of, and how many entries before these were of broken cases.

        Parameters
        ----------
        numbers : (B,) int64
        broken : collection of int

        Returns
        -------
        entries, attempts : (B,) int64

        Raises
        ------
        VolumeError
            If every case is broken.
        """
        epochs, places = np.divmod(numbers, self.epoch_length)
        entries = np.empty_like(numbers)
        for epoch in set(epochs.tolist()):
            own = epochs == epoch
            entries[own] = self._permutation(epoch)[places[own] // self._repeats]
        attempts = np.zeros_like(entries)
        if broken:
            self._redraw(numbers, broken, entries, attempts)
        return entries, attempts

    def _redraw(self, numbers: Ints, broken: Collection[int], entries: Ints, attempts: Ints) -> None:
        """Draw entries of broken cases again, until they are of others."""
        if len(broken) >= len(self._visited) and self._visited.issubset(broken):
            raise VolumeError(self._root, f"none of its {self._cases} cases can be read")
        cases = np.array(list(broken), np.int64)
        waiting = np.flatnonzero(np.isin(self.owners[entries], cases))
        while waiting.size:
            attempts[waiting] += 1
            attempt = int(attempts[waiting[0]])
            words = rng.draw_words(self._seed, numbers[waiting], rng.Purpose.REDRAW, 1, attempt)
            entries[waiting] = rng.below(words[:, 0], len(self.owners))
            waiting = waiting[np.isin(self.owners[entries[waiting]], cases)]

    def _draw_permutation(self, epoch: int) -> Ints:
        """Return the epoch's permutation of the entries."""
        words = np.empty((len(self.owners), 2), np.uint64)
        _draw_words(np.uint64(self._seed), np.uint64(epoch), int(rng.Purpose.ORDER), words)
        if self._run:
            return _order_in_runs(words, self.owners, self._run)
        return np.argsort(words[:, 0], kind="stable")


@compiled
def _draw_words(seed: np.uint64, epoch: np.uint64, purpose: int, words: npt.NDArray[np.uint64]) -> None:
    """Draw two words for each entry of an epoch."""
    for place in range(words.shape[0]):
        words[place, 0], words[place, 1] = draw_pair(seed, np.uint64(place) | epoch << _HALF, 0, purpose)


def _slices_of(index: Index, slices: Slices) -> tuple[Ints, Ints]:
    """Return for each slice of an index its case and its number there.

    Raises
    ------
    ValueError
        If there is none.
    """
    numbers = [slices.of(case) for case in index.cases]
    owners = np.repeat(np.arange(len(index)), [len(own) for own in numbers])
    if not owners.size:
        raise ValueError(f"slices: expected at least one slice, {slices} leaves none of {len(index)} cases; take more")
    return owners, np.concatenate(numbers)


def _order_in_runs(words: npt.NDArray[np.uint64], owners: Ints, length: int) -> Ints:
    """Draw a permutation in which neighbours are of one case, `length` in a row or as many as are left of it.

    Parameters
    ----------
    words : (n, 2) uint64
        The first orders what is of one case, the second the runs.
    owners : (n,) int64
        The case of each, rising.
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
