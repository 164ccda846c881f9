"""Detect label volumes by their values: few values, or integers in patches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.cells import Array

MAX_CLASSES = 256
"""Largest number of classes of a label volume."""

WHOLE = 1.01e-3
"""Largest distance of a label from an integer: 0.001, plus the rounding of a float32 below 256."""

_FEW_CLASSES = 32
"""A volume with at most this many values is a label; with more values, they must be integers in patches."""

_FEW_VALUES = 1 << 10
"""Number of distinct values that are tested first."""


def are_whole(values: Array) -> bool:
    """Whether finite values are integers, within `WHOLE`."""
    return values.dtype.kind != "f" or bool((np.abs(values - np.rint(values)) <= WHOLE).all())


def are_classes(
    native: Array, values: Array, foreground: npt.NDArray[np.bool_], slope: float, intercept: float
) -> bool:
    """Whether the values look like classes; `native` and `foreground` are in the voxel order of the file."""
    if values.size <= _FEW_CLASSES:
        return True
    if values.dtype.kind == "f":
        # For images, a few values already rule it out.
        few = _whole_scale(values[:: 1 + values.size // _FEW_VALUES], slope, intercept)
        scale = few and _whole_scale(values, slope, intercept)
        if not scale:
            return False
        native, values = (np.rint(numbers.astype(np.float64) * scale[0] + scale[1]) for numbers in (native, values))
        values = np.unique(values)
    if not 1 < values.size <= MAX_CLASSES:
        return False
    neighbours = foreground[1:] & foreground[:-1]
    equal = np.count_nonzero(neighbours & (native[1:] == native[:-1]))
    return bool(2 * equal > np.count_nonzero(neighbours))


def _whole_scale(values: Array, slope: float, intercept: float) -> tuple[float, float] | None:
    """Return the scaling, identity or the header's, that maps values to integers of a label volume; else None."""
    for factor, offset in ((1.0, 0.0), (slope, intercept)):
        scaled = values.astype(np.float64) * factor + offset
        if are_whole(scaled) and np.unique(np.rint(scaled)).size <= MAX_CLASSES:
            return factor, offset
    return None
