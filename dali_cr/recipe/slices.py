"""`Slices`: settings for 2-D samples, the slices of a case, and volumes reordered so that slices lie across D."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.index.reorder import reorder
from dali_cr.index.volumes import Case
from dali_cr.recipe.checks import is_int
from dali_cr.recipe.convert import convert_fields
from dali_cr.volume.geometry import Triple

ORDERS: dict[str, Triple] = {"D": (0, 1, 2), "H": (1, 0, 2), "W": (2, 0, 1)}
"""Order of the volume's axes in a slice, by the axis across which slices are cut."""


@dataclass(frozen=True)
class Slices:
    """Use crops of single slices as samples; an epoch visits every slice once.

    Volumes without a slice are skipped.

    The crop is (1, rows, columns) of a slice. Rows and columns are (H, W) across D (axial), (D, W) across H (coronal)
    and (D, H) across W (sagittal). The origin in a plan is (slice, row, column).

    Attributes
    ----------
    axis : "D", "H" or "W"
        Axis across which slices are cut.
    every : int
        Step between slices, counted from the middle slice, so that every volume has at least one.
    skip_empty : bool
        Exclude slices in which no channel has a foreground voxel, as counted by the scan.

    Raises
    ------
    ValueError
        If a field is invalid.

    Examples
    --------
    >>> Slices(axis="D", every=3)
    Slices(axis='D', every=3, skip_empty=True)
    """

    axis: Literal["D", "H", "W"] = "D"
    every: int = 1
    skip_empty: bool = True

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.axis not in ORDERS:
            raise ValueError(f"slices: expected the axis 'D', 'H' or 'W', got {self.axis!r}")
        if not is_int(self.every) or self.every < 1:
            raise ValueError(f"slices: expected every to be an integer of at least 1, got {self.every!r}")
        if not isinstance(self.skip_empty, bool):
            raise ValueError(f"slices: expected skip_empty to be True or False, got {self.skip_empty!r}")

    @property
    def order(self) -> Triple:
        """Order of the volume's axes in a slice."""
        return ORDERS[self.axis]

    def of(self, case: Case) -> npt.NDArray[np.int64]:
        """Return the numbers of the slices of a case that are used as samples.

        Parameters
        ----------
        case : Case
            Case as scanned, before `turn`.

        Returns
        -------
        slices : (n,) int64
            Ascending; empty if all slices are empty.
        """
        across = self.order[0]
        length = case.shape[across]
        numbers = np.arange(length // 2 % self.every, length, self.every)
        if not self.skip_empty:
            return numbers
        occupied = np.logical_or.reduce([volume.occupied[across][numbers] for volume in case.volumes])
        return np.asarray(numbers[occupied])

    def turn(self, index: Index) -> Index:
        """Return an index whose volumes have the axis across the slices first; files do not change.

        Parameters
        ----------
        index : Index

        Returns
        -------
        turned : Index
        """
        if self.axis == "D":
            return index
        return replace(index, cases=tuple(map(self._turn, index.cases)))

    def _turn(self, case: Case) -> Case:
        volumes = tuple(reorder(volume, self.order) for volume in case.volumes)
        return replace(case, volumes=volumes, mask=reorder(case.mask, self.order) if case.mask else None)
