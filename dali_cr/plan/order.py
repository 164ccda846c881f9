"""Which case, or which slice of a case, sample n is of."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.recipe.slices import Slices
from dali_cr.volume.geometry import VolumeError


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

    def choose(self, number: int, broken: Collection[int]) -> tuple[int, int]:
        """Return which entry a sample is of, and how many entries before it were of broken cases.

        Raises
        ------
        VolumeError
            If every case is broken.
        """
        epoch, place = divmod(number, self.epoch_length)
        entry, attempt = int(self._permutation(epoch)[place // self._repeats]), 0
        if len(broken) >= len(self._visited) and self._visited.issubset(broken):
            raise VolumeError(self._root, f"none of its {self._cases} cases can be read")
        while self.owners[entry] in broken:
            attempt += 1
            words = rng.draw_words(self._seed, [number], rng.Purpose.REDRAW, 1, attempt)
            entry = int(rng.below(words[0, 0], len(self.owners)))
        return entry, attempt

    def _draw_permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the epoch's permutation of the entries."""
        places = np.arange(len(self.owners), dtype=np.uint64) | np.uint64(epoch) << np.uint64(32)
        words = rng.draw_words(self._seed, places, rng.Purpose.ORDER, 1)
        if self._run:
            return _order_in_runs(words, self.owners, self._run)
        return np.argsort(words[:, 0], kind="stable")


def _slices_of(index: Index, slices: Slices) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each slice of an index its case and its number there.

    Raises
    ------
    ValueError
        If there is none.
    """
    numbers = [slices.of(case) for case in index.cases]
    owners = np.repeat(np.arange(len(index)), [len(own) for own in numbers])
    if not owners.size:
        raise ValueError(f"slices: wanted at least one slice, {slices} leaves none of {len(index)} cases; take more")
    return owners, np.concatenate(numbers)


def _order_in_runs(words: npt.NDArray[np.uint64], owners: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
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
