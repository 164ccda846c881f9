"""`Swap`: the number and sizes of swapped patches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from dali_cr.recipe.checks import is_int
from dali_cr.recipe.convert import convert_fields
from dali_cr.recipe.fingerprint import SINCE
from dali_cr.volume.geometry import Triple

Edges = int | tuple[int, int]

MOST_CELLS = 2**24
"""Largest number of cells of the lattice, because the CPU keeps a number for each cell."""


@dataclass(frozen=True)
class Swap:
    """T swaps of two disjoint patches of equal size.

    Attributes
    ----------
    iterations : int
        T, the number of swaps per sample.
    patch : int, (low, high), or one of these per axis
        Edge of a cube in voxels, or a range from which each edge is drawn separately, both ends included, or three of
        these for D, H, W. A single value becomes 1 along an axis on which the crop is one voxel thick.
    overlap : bool
        True: the two patches of a swap are disjoint, patches of different swaps may overlap (Chen et al. 2019). False:
        all 2T patches are disjoint, so that a voxel moves at most once (as in Dominic et al. 2023).

    Raises
    ------
    ValueError
        If a field is invalid.

    Notes
    -----
    With `overlap` a pair is uniform over all pairs of disjoint boxes of its size.

    Without `overlap` a crop is divided into a lattice of n = L // h cells along each axis, for L voxels and the highest
    edge h. Cell i has the voxels from i L // n to (i + 1) L // n, so the cells of an axis differ by at most one voxel.
    2T different cells are drawn, with equal probability for every sequence. Pair t gets the cells 2t and 2t + 1, and a
    size as above. Each patch is uniform over the positions in its cell, independently of the other patches. This is not
    uniform over all sets of disjoint boxes, because no patch crosses a border of the lattice.

    References
    ----------
    Dominic et al.: Improving data-efficiency and robustness of medical imaging segmentation using inpainting-based
    self-supervised learning. Bioengineering 10 (2023) 207.

    Examples
    --------
    >>> Swap(iterations=100, patch=(4, 16)).edges((64, 64, 64))
    ((4, 16), (4, 16), (4, 16))
    >>> Swap(patch=(4, 4, (2, 8))).edges((64, 64, 64))
    ((4, 4), (4, 4), (2, 8))
    >>> Swap(iterations=32, patch=(4, 16), overlap=False).cells((64, 64, 70))
    (4, 4, 4)
    """

    iterations: int = 100
    patch: Edges | tuple[Edges, Edges, Edges] = (4, 16)
    overlap: bool = field(default=True, metadata={SINCE: "0.2.0"})

    def __post_init__(self) -> None:
        convert_fields(self)
        if not is_int(self.iterations) or self.iterations < 0:
            raise ValueError(f"iterations: expected an integer of at least 0, got {self.iterations!r}")
        entries = self.patch if isinstance(self.patch, tuple) and len(self.patch) == 3 else (self.patch,)
        for entry in entries:
            pair = entry if isinstance(entry, tuple) else (entry, entry)
            if len(pair) != 2 or not all(map(is_int, pair)) or not 1 <= pair[0] <= pair[1]:
                raise ValueError(
                    f"patch: expected an edge of at least 1, (low, high), or one of these per axis, got {self.patch!r}"
                )
        if not isinstance(self.overlap, bool):
            raise ValueError(f"overlap: expected True or False, got {self.overlap!r}")

    def edges(self, shape: Triple) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Return the lowest and highest edge along each axis of a crop of `shape`."""
        common = not (isinstance(self.patch, tuple) and len(self.patch) == 3)
        entries: Any = (self.patch,) * 3 if common else self.patch
        pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in entries]
        fitted = [(1, 1) if common and length == 1 else pair for length, pair in zip(shape, pairs, strict=True)]
        return tuple(fitted)  # type: ignore[return-value]

    def cells(self, shape: Triple) -> Triple:
        """Return the number of cells along each axis of a crop of `shape`, for patches that do not overlap."""
        d, h, w = (length // high for length, (_, high) in zip(shape, self.edges(shape), strict=True))
        return d, h, w

    def check(self, shape: Triple) -> None:
        """Raise ValueError unless patches of every size fit into a crop.

        Parameters
        ----------
        shape : (3,) int
            The crop's (D, H, W).

        Raises
        ------
        ValueError
            If they do not fit; the message gives the limits.
        """
        if self.iterations == 0:
            return
        high = [pair[1] for pair in self.edges(shape)]
        fits = all(edge <= length for edge, length in zip(high, shape, strict=True))
        apart = any(2 * edge <= length for edge, length in zip(high, shape, strict=True))
        if not (fits and apart):
            half = tuple(length // 2 for length in shape)
            raise ValueError(
                f"patch: two disjoint patches of {tuple(high)} do not fit into a crop of {tuple(shape)}: each edge may "
                f"be at most that of the crop, and at least one edge at most half of it, {half}"
            )
        if not self.overlap:
            self._check_cells(shape)

    def _check_cells(self, shape: Triple) -> None:
        """Raise ValueError unless there is a cell for each patch and the number of cells is allowed."""
        cells = self.cells(shape)
        number = math.prod(cells)
        lattice = f"a lattice of {' × '.join(map(str, cells))} cells in a crop of {tuple(shape)}"
        if number > MOST_CELLS:
            raise ValueError(
                f"patch: expected at most {MOST_CELLS} cells without overlap, got {lattice}; use larger patches"
            )
        if 2 * self.iterations > number:
            raise ValueError(
                f"iterations: expected at most {number // 2} without overlap, got {self.iterations}: {lattice} has one "
                "cell per patch; use fewer iterations, smaller patches or a larger crop"
            )
