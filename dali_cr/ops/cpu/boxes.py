"""Boxes of voxels in flat arrays, for the loops of `swap` and `erase`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.system.compiled import compiled

Swaps = npt.NDArray[np.int32]
"""(T, 3, 3) or (B, T, 3, 3): origin, other origin and size of each pair of boxes, each (D, H, W)."""


@compiled
def place_of(box: npt.NDArray[np.int32], shape: tuple[int, int, int]) -> Any:
    """Return the flat index of a voxel in a volume."""
    return (box[0] * shape[1] + box[1]) * shape[2] + box[2]
