"""Draw the masked blocks of samples, as a pure function of seed, sample number and recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.draw.blocks import draw_blocks_on_gpu, draw_blocks_ref
from dali_cr.ops.gpu import launch
from dali_cr.plan.swaps import SwapSampler
from dali_cr.recipe.mask import MaskGrid
from dali_cr.recipe.restoration import Restoration
from dali_cr.volume.geometry import Triple


class MaskSampler:
    """Draws the masked blocks of samples; all sets of blocks have equal probability.

    Parameters
    ----------
    seed : int
    shape : (3,) int
        Shape of the crop.
    grid : MaskGrid

    Attributes
    ----------
    boxes : int
        Number of masked blocks per sample.
    masks : bool
        True: boxes are masked, not swapped.

    Raises
    ------
    ValueError
        If the seed is not an unsigned 64-bit integer.
    """

    masks = True

    def __init__(self, seed: int, shape: Triple, grid: MaskGrid) -> None:
        rng.check_seed(seed)
        self._seed, self._shape, self._block, self.boxes = seed, shape, grid.block, grid.masked

    def draw(self, numbers: npt.NDArray[Any]) -> Swaps:
        """Draw the masked blocks of samples.

        Parameters
        ----------
        numbers : (B,) int
            Sample numbers.

        Returns
        -------
        boxes : (B, 1, blocks, 3, 3) int32
            Origin, zeros and size of each block, as for `dali_cr.ops.erase`. Read-only.
        """
        out = np.empty((len(numbers), self.boxes, 3, 3), np.int32)
        draw_blocks_ref(self._seed, numbers, self._shape, self._block, out)
        out.flags.writeable = False
        return out[:, None]

    def draw_on_gpu(self, numbers: Any) -> Any:
        """Draw the masked blocks of samples on the GPU; like `draw`, with CuPy arrays."""
        out = launch.array_module().empty((len(numbers), self.boxes, 3, 3), np.int32)
        draw_blocks_on_gpu(self._seed, numbers, self._shape, self._block, out)
        return out[:, None]


def make_sampler(recipe: Restoration, seed: int) -> SwapSampler | MaskSampler:
    """Return the sampler for the boxes of a recipe."""
    if recipe.mask_grid:
        return MaskSampler(seed, recipe.crop, recipe.mask_grid)
    return SwapSampler(seed, recipe.crop, recipe.swap)
