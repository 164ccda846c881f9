"""`CropMaps`: compute the affine maps of rotated and scaled crops."""

from __future__ import annotations

import math

import numpy as np

from dali_cr.index.cases import Index
from dali_cr.plan.affine import Flags, Floats, Ints, compose, find_reach
from dali_cr.plan.crops.augmentation import Augmentation
from dali_cr.plan.foreground import LENGTHS, SHAPE
from dali_cr.system.compiled import compiled


class CropMaps:
    """Rotates and scales crops about their centres, in mm.

    Parameters
    ----------
    index : Index
    table : (cases, 4, 3) int64
        Table from `dali_cr.plan.foreground.table_of`.

    Raises
    ------
    ValueError
        If the spacing of a case is not three positive numbers in mm.
    """

    def __init__(self, index: Index, table: Ints) -> None:
        self._table = table
        self._spacing = np.array([case.volumes[0].spacing for case in index.cases], np.float64)
        bad = np.flatnonzero(~((self._spacing > 0) & np.isfinite(self._spacing)).all(1))
        if bad.size:
            case = index.cases[int(bad[0])]
            raise ValueError(
                f"degrees, scale: expected a spacing of positive mm, got {case.volumes[0].spacing} of {case.name}; "
                "correct its header, or exclude it (exclude=...)"
            )
        # Spacing of the voxels of crops.
        self._units = self._spacing * table[:, SHAPE] / table[:, LENGTHS]

    def apply(
        self,
        cases: Ints,
        origins: Ints,
        flips: Flags,
        drawn: Augmentation,
        matrices: Floats,
        offsets: Floats,
        boxes: Ints,
    ) -> None:
        """Replace the maps and boxes of the crops that are rotated or scaled.

        Parameters
        ----------
        cases : (B,) int64
        origins : (B, 1, 3) int64
        flips : (B, 1, 3) bool
        drawn : Augmentation
        matrices : (B, 1, 3, 3) float64
        offsets : (B, 1, 3) float64
        boxes : (B, 2, 3) int64
            Start and stop of the box from which a crop is interpolated.
        """
        rows = np.flatnonzero(drawn.moved)
        radians = (drawn.angles[rows] * (math.pi / 180)).tolist()
        # With the C library, one value at a time, because NumPy's results depend on the length of the array.
        cosines, sines = (np.array([[each(a) for a in row] for row in radians]) for each in (math.cos, math.sin))
        if rows.size:
            crop = np.array(drawn.crop, np.int64)
            given = rows, cases, origins, flips, crop, drawn.scales, cosines, sines
            _map(*given, self._units, self._spacing, self._table, (matrices, offsets, boxes))


@compiled
def _map(
    rows: Ints,
    cases: Ints,
    origins: Ints,
    flips: Flags,
    crop: Ints,
    scales: Floats,
    cosines: Floats,
    sines: Floats,
    units: Floats,
    spacing: Floats,
    table: Ints,
    out: tuple[Floats, Floats, Ints],
) -> None:
    """Write the maps of some rows of a batch, and the boxes from which they are interpolated."""
    matrices, offsets, boxes = out
    for place in range(rows.size):
        i = rows[place]
        case = cases[i]
        compose(
            origins[i, 0],
            crop,
            flips[i, 0],
            scales[i],
            cosines[place],
            sines[place],
            units[case],
            spacing[case],
            crop,
            matrices[i, 0],
            offsets[i, 0],
        )
        find_reach(matrices[i, 0], offsets[i, 0], crop, table[case, SHAPE], boxes[i])
