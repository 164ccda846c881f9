"""Slices of volumes as 2-D samples: which there are, and volumes turned so that each is one voxel thick along D."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.index.reorder import reorder
from dali_cr.index.volumes import Case
from dali_cr.volume.geometry import Triple

ORDERS: dict[str, Triple] = {"D": (0, 1, 2), "H": (1, 0, 2), "W": (2, 0, 1)}
"""By the axis that is cut across, the volume's axes in the order in which a slice has them."""


@dataclass(frozen=True)
class Slices:
    """Samples that are crops of one slice each; an epoch visits every slice once.

    A volume of which no slice is left is not visited.

    The crop is (1, rows, columns) of the slice: along (H, W) of slices across D (axial), (D, W) across H (coronal) and
    (D, H) across W (sagittal). The origin in a plan is (slice, row, column) likewise.

    Attributes
    ----------
    axis : "D", "H" or "W"
        Which is cut across.
    every : int
        Every so many slices are taken, counted from the middle one, so that no volume is too thin to have one.
    skip_empty : bool
        Exclude slices in which no channel has a foreground voxel, as counted by the scan.

    Raises
    ------
    ValueError
        If a field is not as above.

    Examples
    --------
    >>> Slices(axis="D", every=3)
    Slices(axis='D', every=3, skip_empty=True)
    """

    axis: Literal["D", "H", "W"] = "D"
    every: int = 1
    skip_empty: bool = True

    def __post_init__(self) -> None:
        if self.axis not in ORDERS:
            raise ValueError(f"slices: expected the axis 'D', 'H' or 'W', got {self.axis!r}")
        if not isinstance(self.every, int) or isinstance(self.every, bool) or self.every < 1:
            raise ValueError(f"slices: expected every to be an integer of at least 1, got {self.every!r}")
        if not isinstance(self.skip_empty, bool):
            raise ValueError(f"slices: expected skip_empty to be True or False, got {self.skip_empty!r}")

    @property
    def order(self) -> Triple:
        """The volume's axes in the order in which a slice has them."""
        return ORDERS[self.axis]

    def of(self, case: Case) -> npt.NDArray[np.int64]:
        """Return the numbers of the slices that are taken of a case.

        Parameters
        ----------
        case : Case
            As it was scanned, not turned.

        Returns
        -------
        slices : (n,) int64
            Rising; none where all are empty.
        """
        across = self.order[0]
        length = case.shape[across]
        taken = np.arange(length // 2 % self.every, length, self.every)
        if not self.skip_empty:
            return taken
        occupied = np.logical_or.reduce([volume.occupied[across][taken] for volume in case.volumes])
        return np.asarray(taken[occupied])

    def turn(self, index: Index) -> Index:
        """Return an index whose volumes have the axis that is cut across first; its files are the same.

        Parameters
        ----------
        index : Index

        Returns
        -------
        turned : Index
        """
        if self.axis == "D":
            return index
        cases = (replace(c, volumes=tuple(reorder(v, self.order) for v in c.volumes)) for c in index.cases)
        return replace(index, cases=tuple(cases))
