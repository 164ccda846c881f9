"""`Swap`: how many patches are swapped, and of which sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dali_cr.recipe.checks import is_int, tuples
from dali_cr.volume.geometry import Triple

Edges = int | tuple[int, int]


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

    Raises
    ------
    ValueError
        If the numbers make no patch.

    Examples
    --------
    >>> Swap(iterations=100, patch=(4, 16)).edges((64, 64, 64))
    ((4, 16), (4, 16), (4, 16))
    >>> Swap(patch=(4, 4, (2, 8))).edges((64, 64, 64))
    ((4, 4), (4, 4), (2, 8))
    """

    iterations: int = 100
    patch: Edges | tuple[Edges, Edges, Edges] = (4, 16)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuples(self.patch))
        if not is_int(self.iterations) or self.iterations < 0:
            raise ValueError(f"iterations: wanted an integer of at least 0, got {self.iterations!r}")
        entries = self.patch if isinstance(self.patch, tuple) and len(self.patch) == 3 else (self.patch,)
        for entry in entries:
            pair = entry if isinstance(entry, tuple) else (entry, entry)
            if len(pair) != 2 or not all(map(is_int, pair)) or not 1 <= pair[0] <= pair[1]:
                raise ValueError(
                    f"patch: wanted an edge of at least 1, (low, high), or one of these per axis, got {self.patch!r}"
                )

    def edges(self, shape: Triple) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Return the lowest and highest edge along each axis of a crop of `shape`."""
        common = not (isinstance(self.patch, tuple) and len(self.patch) == 3)
        entries: Any = (self.patch,) * 3 if common else self.patch
        pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in entries]
        thin = [(1, 1) if common and length == 1 else pair for length, pair in zip(shape, pairs, strict=True)]
        return tuple(thin)  # type: ignore[return-value]

    def check(self, shape: Triple) -> None:
        """Refuse a crop in which two disjoint patches of every size that may be drawn cannot lie.

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
