"""What sample n is: a pure function of (seed, n), the index and the recipe; drawn for a whole batch at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.checks import AXES
from dali_cr.geometry import Triple, VolumeError
from dali_cr.grid import resampled_shape
from dali_cr.index import Case, Index, refuse_empty
from dali_cr.recipe import Restoration
from dali_cr.slices import Slices
from dali_cr.statistics import cell_edge
from dali_cr.swaps import draw_batch

_ORIGIN_BLOCKS = 3
"""Philox blocks for an origin: whether in the foreground, which cell, three positions, one word unused."""


@dataclass(frozen=True, eq=False)
class View:
    """One crop of a sample.

    Attributes
    ----------
    origin : (3,) int
        Of the crop in the canonical volume, in voxels of the recipe's spacing; negative where the crop sticks out of
        it. With slices, the number of the slice, then row and column in it.
    flips : (3,) bool
        Which of the crop's axes are flipped after cropping.
    swaps : (T, 3, 3) int32
        In the crop, after the flips.
    """

    origin: Triple
    flips: tuple[bool, bool, bool]
    swaps: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """What a sample is made of.

    Attributes
    ----------
    number : int
        The sample number.
    case : int
        Place of its case in the index.
    path : str
        Of the case's first file, relative to the index's root.
    attempt : int
        How many cases before this one could not be read.
    views : tuple of View
    """

    number: int
    case: int
    path: str
    attempt: int
    views: tuple[View, ...]

    @property
    def origin(self) -> Triple:
        """The first view's."""
        return self.views[0].origin

    @property
    def flips(self) -> tuple[bool, bool, bool]:
        """The first view's."""
        return self.views[0].flips

    @property
    def swaps(self) -> npt.NDArray[np.int32]:
        """The first view's."""
        return self.views[0].swaps


class Planner:
    """Plans samples of one index by one recipe from one seed.

    Parameters
    ----------
    index : Index
    recipe : Restoration
    seed : int

    Attributes
    ----------
    index : Index
        With slices, its volumes are turned so that a slice is one voxel thick along D.

    Raises
    ------
    TypeError
        If the recipe is of another kind.
    ValueError
        If the index is empty, no slice is left, the seed is no 64-bit unsigned integer, or a volume's own spacing makes
        no sense where it is to be resampled.
    """

    def __init__(self, index: Index, recipe: Restoration, seed: int) -> None:
        if not isinstance(recipe, Restoration):
            raise TypeError(f"recipe: wanted dali_cr.Restoration, got {type(recipe).__name__}")
        refuse_empty(index)
        rng.check_seed(seed)
        self.recipe, self.seed = recipe, seed
        # What an epoch has each of once: cases, or slices, of which it is also known whose they are.
        self._owners, self._planes = np.arange(len(index)), np.zeros(len(index), np.int64)
        self._repeats = recipe.crops_per_volume
        if recipe.slices:
            self._owners, self._planes = _slices_of(index, recipe.slices)
            self._repeats = 1
        self._visited = frozenset(self._owners.tolist())
        self.index = recipe.slices.turn(index) if recipe.slices else index
        self._shapes = np.array([case.shape for case in self.index.cases])
        self._lengths = np.array([self.shape_of(case) for case in self.index.cases])
        self._order = lru_cache(maxsize=4)(self._draw_order)
        self._cells = lru_cache(maxsize=1024)(self._sum_cells)

    def shape_of(self, case: Case) -> Triple:
        """Return the (D, H, W) of a case at the recipe's spacing."""
        try:
            return resampled_shape(case.shape, case.volumes[0].spacing, self.recipe.spacing)
        except ValueError as error:
            raise ValueError(f"{case.name}: {error}") from error

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return len(self._owners) * self._repeats

    def draw(self, numbers: npt.ArrayLike, broken: Collection[int] = ()) -> list[SamplePlan]:
        """Plan samples.

        Parameters
        ----------
        numbers : (B,) int
            Sample numbers.
        broken : collection of int
            Places in the index of cases that cannot be read; their samples are drawn again from other cases.

        Returns
        -------
        plans : list of SamplePlan

        Raises
        ------
        VolumeError
            If every case is broken.
        """
        n = np.atleast_1d(np.asarray(numbers, np.int64))
        drawn = [self._choose(number, broken) for number in n.tolist()]
        chosen = [(int(self._owners[entry]), attempt) for entry, attempt in drawn]
        swaps = draw_batch(self.seed, n, self.recipe.crop, self.recipe.swap)
        swaps.flags.writeable = False
        origins = self._draw_origins(n, np.array([entry for entry, _ in drawn], np.int64)).tolist()
        flips = self._draw_flips(n).tolist()
        return [
            SamplePlan(
                number=number,
                case=case,
                path=self.index.cases[case].volumes[0].path,
                attempt=attempt,
                views=(View(tuple(origin), tuple(flip), own),),
            )
            for number, (case, attempt), origin, flip, own in zip(
                n.tolist(), chosen, origins, flips, swaps, strict=True
            )
        ]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the epoch's permutation of the cases, or of the slices."""
        places = np.arange(len(self._owners), dtype=np.uint64) | np.uint64(epoch) << np.uint64(32)
        words = rng.draw_words(self.seed, places, rng.Purpose.ORDER, 1)
        if self.recipe.slices:
            return _order_in_runs(words, self._owners, self.recipe.crops_per_volume)
        return np.argsort(words[:, 0], kind="stable")

    def _choose(self, number: int, broken: Collection[int]) -> tuple[int, int]:
        """Return which of the cases or slices the sample is of, and how many draws it took."""
        epoch, place = divmod(number, self.epoch_length)
        entry, attempt = int(self._order(epoch)[place // self._repeats]), 0
        if len(broken) >= len(self._visited) and self._visited.issubset(broken):
            raise VolumeError(self.index.root, f"none of its {len(self.index)} cases can be read")
        while self._owners[entry] in broken:
            attempt += 1
            words = rng.draw_words(self.seed, [number], rng.Purpose.REDRAW, 1, attempt)
            entry = int(rng.below(words[0, 0], len(self._owners)))
        return entry, attempt

    def _choose_case(self, number: int, broken: Collection[int]) -> tuple[int, int]:
        """Return the sample's case and how many draws it took."""
        entry, attempt = self._choose(number, broken)
        return int(self._owners[entry]), attempt

    def _draw_origins(self, numbers: npt.NDArray[np.int64], entries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Draw each crop's origin, in its slice if it has one: its centre from the foreground, or uniformly."""
        cases = self._owners[entries]
        words = rng.draw_words(self.seed, numbers, rng.Purpose.ORIGIN, _ORIGIN_BLOCKS)
        crop, shapes, lengths = np.array(self.recipe.crop), self._shapes[cases], self._lengths[cases]
        spare = np.maximum(lengths - crop, 0)
        origins = rng.below(words[:, 2:5], spare + 1)
        inner = np.flatnonzero(rng.unit(words[:, 0]) < self.recipe.foreground)
        layers = None
        if self.recipe.slices:
            layers = self._planes[entries] // cell_edge(shapes[:, 0])
            # An empty slice may have no foreground near it.
            inner = inner[[bool(self._cells(int(cases[i]), int(layers[i]))[-1]) for i in inner.tolist()]]
        if inner.size:
            cells = [
                self._foreground_cell(int(cases[i]), int(words[i, 1]), None if layers is None else int(layers[i]))
                for i in inner.tolist()
            ]
            voxels = place_in_cell(np.array(cells), words[inner, 2:5], shapes[inner])
            centres = ((voxels + 0.5) * (lengths / shapes)[inner]).astype(np.int64)
            origins[inner] = np.clip(centres - crop // 2, 0, spare[inner])
        if self.recipe.slices:
            origins[:, 0] = self._planes[entries]
        return np.where(lengths < crop, -((crop - lengths) // 2), origins)

    def _foreground_cell(self, case: int, word: int, layer: int | None = None) -> tuple[int, int, int]:
        """Draw a cell of the coarse map, or of one layer of it, in proportion to its foreground in all channels."""
        upto = self._cells(case, layer)
        cell = int(upto.searchsorted(word % int(upto[-1]), side="right"))
        _, rows, columns = self.index.cases[case].volumes[0].foreground.shape
        return cell // (rows * columns) if layer is None else layer, cell // columns % rows, cell % columns

    def _sum_cells(self, case: int, layer: int | None = None) -> npt.NDArray[np.int64]:
        """Return the running sum of a case's coarse map, or of one layer of it."""
        maps = np.array([volume.foreground for volume in self.index.cases[case].volumes])
        return np.cumsum(np.sum(maps if layer is None else maps[:, layer], axis=0, dtype=np.int64))

    def _draw_flips(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Draw which axes are flipped."""
        words = rng.draw_words(self.seed, numbers, rng.Purpose.FLIP, 1)[:, 0]
        bits = words[:, None] >> np.array([61, 62, 63], np.uint64) & np.uint64(1)
        axes = [AXES[axis] for axis in self.recipe.slices.order] if self.recipe.slices else AXES
        return np.asarray(bits.astype(bool) & np.array([axis in self.recipe.flips for axis in axes]))


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


def place_in_cell(
    cells: npt.NDArray[np.int64], words: npt.NDArray[np.uint64], shapes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Draw a voxel of each cell; the last cell of an axis may be cut short."""
    edges = cell_edge(shapes)
    first = cells * edges
    return np.asarray(first + rng.below(words, np.minimum(edges, shapes - first)))
