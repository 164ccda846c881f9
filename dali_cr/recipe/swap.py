"""`Swap`: how many patches are swapped, and of which sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from dali_cr.recipe.checks import is_int, tuples
from dali_cr.recipe.fingerprint import SINCE
from dali_cr.volume.geometry import Triple

Edges = int | tuple[int, int]

MOST_CELLS = 2**24
"""Of a lattice; the CPU keeps a number for each while it draws."""


@dataclass(frozen=True)
class Swap:
    """T swaps of two disjoint patches of one size.

    Attributes
    ----------
    iterations : int
        T, the number of swaps a sample.
    patch : int, (low, high), or one of these per axis
        A cube's edge in voxels; a range from which each edge is drawn by itself, both ends included; or three of
        these for D, H, W. Where a crop is one voxel thick, an edge given for all axes is 1 on that axis.
    overlap : bool
        True: the patches of a pair are disjoint, those of different swaps may overlap (Chen et al. 2019). False: all
        2T patches are disjoint, so that every voxel moves at most once (as in Dominic et al. 2023).

    Raises
    ------
    ValueError
        If a field is not as above.

    Notes
    -----
    With `overlap` a pair is uniform over all pairs of disjoint boxes of its size.

    Without it a crop is divided into a lattice of n = L // h cells along each axis, for L voxels and the highest edge
    h: cell i has the voxels from i L // n to (i + 1) L // n, so that cells of an axis differ by one voxel at most. 2T
    different cells are drawn, every sequence as likely as any other; pair t gets the cells 2t and 2t + 1, and a size as
    above. Each of its patches is uniform over the positions in its cell, independently of the other. This is not
    uniform over all sets of disjoint boxes: no patch crosses a border of the lattice.

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
        object.__setattr__(self, "patch", tuples(self.patch))
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
        thin = [(1, 1) if common and length == 1 else pair for length, pair in zip(shape, pairs, strict=True)]
        return tuple(thin)  # type: ignore[return-value]

    def cells(self, shape: Triple) -> Triple:
        """Return how many cells each axis of a crop of `shape` is divided into where patches do not overlap."""
        d, h, w = (length // high for length, (_, high) in zip(shape, self.edges(shape), strict=True))
        return d, h, w

    def check(self, shape: Triple) -> None:
        """Raise ValueError unless the patches fit into a crop, of whatever size they are drawn.

        Parameters
        ----------
        shape : (3,) int
            The crop's (D, H, W).

        Raises
        ------
        ValueError
            Saying what would work.
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
                f"be at most the crop's, and at least one of them at most half of it {half}"
            )
        if not self.overlap:
            self._check_cells(shape)

    def _check_cells(self, shape: Triple) -> None:
        """Raise ValueError unless there is a cell for each patch, and not too many of them."""
        cells = self.cells(shape)
        number = math.prod(cells)
        lattice = f"a lattice of {' × '.join(map(str, cells))} cells in a crop of {tuple(shape)}"
        if number > MOST_CELLS:
            raise ValueError(
                f"patch: expected at most {MOST_CELLS} cells without overlap, got {lattice}; take larger ones"
            )
        if 2 * self.iterations > number:
            raise ValueError(
                f"iterations: expected at most {number // 2} without overlap, got {self.iterations}: {lattice} has one "
                "for each patch; take fewer iterations, smaller patches or a larger crop"
            )
