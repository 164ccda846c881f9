"""`Order`: the order of cases, or of their slices, in each epoch."""

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
    """Permutes the cases of an index, or their slices, anew in each epoch.

    Parameters
    ----------
    index : Index
    seed : int
    repeats : int
        Number of consecutive samples of one case; with slices, of consecutive slices of one case.
    slices : Slices, optional
        If given, an epoch has each slice once.

    Attributes
    ----------
    owners : (n,) int64
        Index of the case of each entry; entries are cases or slices.
    planes : (n,) int64
        Slice number of each entry; 0 without slices.

    Raises
    ------
    ValueError
        If there is no slice.
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
        """Return the entry of each sample, and the number of entries drawn before it that belong to broken cases.

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
            members = epochs == epoch
            entries[members] = self._permutation(epoch)[places[members] // self._repeats]
        attempts = np.zeros_like(entries)
        if broken:
            self._redraw(numbers, broken, entries, attempts)
        return entries, attempts

    def _redraw(self, numbers: Ints, broken: Collection[int], entries: Ints, attempts: Ints) -> None:
        """Redraw entries of broken cases until they belong to other cases."""
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
        """Return the permutation of the entries in an epoch."""
        words = np.empty((len(self.owners), 2), np.uint64)
        _draw_words(np.uint64(self._seed), np.uint64(epoch), int(rng.Purpose.ORDER), words)
        if self._run:
            return _order_in_runs(words, self.owners, self._run)
        return np.argsort(words[:, 0], kind="stable")


@compiled
def _draw_words(seed: np.uint64, epoch: np.uint64, purpose: int, words: npt.NDArray[np.uint64]) -> None:
    """Draw two random words per entry of an epoch."""
    for place in range(words.shape[0]):
        words[place, 0], words[place, 1] = draw_pair(seed, np.uint64(place) | epoch << _HALF, 0, purpose)


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
