"""What sample n is: a pure function of (seed, n), the index and the recipe; drawn for a whole batch at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.geometry import Triple, VolumeError
from dali_cr.index import Index, refuse_empty
from dali_cr.recipe import AXES, Restoration
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
        Of the crop in the canonical volume; negative where the crop sticks out of it.
    flips : (3,) bool
        Which of D, H, W are flipped after cropping.
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

    Raises
    ------
    ValueError
        If the index is empty or the seed no 64-bit unsigned integer.
    """

    def __init__(self, index: Index, recipe: Restoration, seed: int) -> None:
        refuse_empty(index)
        rng.check_seed(seed)
        self.index, self.recipe, self.seed = index, recipe, seed
        self._shapes = np.array([case.shape for case in index.cases])
        self._order = lru_cache(maxsize=4)(self._draw_order)
        self._cells = lru_cache(maxsize=1024)(self._sum_cells)

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""
        return len(self.index) * self.recipe.crops_per_volume

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
        chosen = [self._choose_case(number, broken) for number in n.tolist()]
        swaps = draw_batch(self.seed, n, self.recipe.crop, self.recipe.swap)
        swaps.flags.writeable = False
        origins = self._draw_origins(n, [case for case, _ in chosen]).tolist()
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
        """Return the epoch's permutation of the cases."""
        places = np.arange(len(self.index), dtype=np.uint64) | np.uint64(epoch) << np.uint64(32)
        words = rng.draw_words(self.seed, places, rng.Purpose.ORDER, 1)[:, 0]
        return np.argsort(words, kind="stable")

    def _choose_case(self, number: int, broken: Collection[int]) -> tuple[int, int]:
        """Return the sample's case and how many draws it took."""
        epoch, place = divmod(number, self.epoch_length)
        case, attempt = int(self._order(epoch)[place // self.recipe.crops_per_volume]), 0
        if broken and len(broken) >= len(self.index):
            raise VolumeError(self.index.root, f"none of its {len(self.index)} cases can be read")
        while case in broken:
            attempt += 1
            words = rng.draw_words(self.seed, [number], rng.Purpose.REDRAW, 1, attempt)
            case = int(rng.below(words[0, 0], len(self.index)))
        return case, attempt

    def _draw_origins(self, numbers: npt.NDArray[np.int64], cases: list[int]) -> npt.NDArray[np.int64]:
        """Draw each crop's origin: its centre from the foreground, or the origin uniformly."""
        words = rng.draw_words(self.seed, numbers, rng.Purpose.ORIGIN, _ORIGIN_BLOCKS)
        crop, shapes = np.array(self.recipe.crop), self._shapes[cases]
        spare = np.maximum(shapes - crop, 0)
        origins = rng.below(words[:, 2:5], spare + 1)
        inner = np.flatnonzero(rng.unit(words[:, 0]) < self.recipe.foreground)
        if inner.size:
            cells = [self._foreground_cell(cases[i], int(words[i, 1])) for i in inner.tolist()]
            centres = _place_in_cell(np.array(cells), words[inner, 2:5], shapes[inner])
            origins[inner] = np.clip(centres - crop // 2, 0, spare[inner])
        return np.where(shapes < crop, -((crop - shapes) // 2), origins)

    def _foreground_cell(self, case: int, word: int) -> tuple[int, int, int]:
        """Draw a cell of the coarse map in proportion to its foreground in all channels."""
        upto = self._cells(case)
        cell = int(upto.searchsorted(word % int(upto[-1]), side="right"))
        _, rows, columns = self.index.cases[case].volumes[0].foreground.shape
        return cell // (rows * columns), cell // columns % rows, cell % columns

    def _sum_cells(self, case: int) -> npt.NDArray[np.int64]:
        """Return the running sum of a case's coarse map."""
        maps = [volume.foreground for volume in self.index.cases[case].volumes]
        return np.cumsum(np.sum(maps, axis=0, dtype=np.int64))

    def _draw_flips(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Draw which axes are flipped."""
        words = rng.draw_words(self.seed, numbers, rng.Purpose.FLIP, 1)[:, 0]
        bits = words[:, None] >> np.array([61, 62, 63], np.uint64) & np.uint64(1)
        return np.asarray(bits.astype(bool) & np.array([axis in self.recipe.flips for axis in AXES]))


def _place_in_cell(
    cells: npt.NDArray[np.int64], words: npt.NDArray[np.uint64], shapes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Draw a voxel of each cell; the last cell of an axis may be cut short."""
    edges = cell_edge(shapes)
    first = cells * edges
    return np.asarray(first + rng.below(words, np.minimum(edges, shapes - first)))
