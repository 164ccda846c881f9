"""Sums in a fixed order, with the same bits on CPU and GPU (kernels/lanes.cuh)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled

LANES = 512
"""Number of lanes: voxel i is summed in lane i mod 512; then the lanes are summed by repeated halving."""


@compiled
def sum_of(volume: npt.NDArray[np.float32], mean: float, squared: bool, lanes: npt.NDArray[np.float64]) -> Any:
    """Return the sum of voxels, or of their squared distances from a mean.

    Parameters
    ----------
    volume : (voxels,) float32
    mean : float
    squared : bool
        Sum the squared distances.
    lanes : (512,) float64
        Overwritten.

    Returns
    -------
    total : float64
    """
    lanes[:] = 0.0
    for first in range(0, volume.size, LANES):
        row = volume[first : first + LANES]
        for lane in range(row.size):
            distance = np.float64(row[lane]) - mean
            lanes[lane] += distance * distance if squared else np.float64(row[lane])
    half = LANES // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]
