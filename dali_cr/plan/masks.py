"""The masked blocks of samples: a pure function of seed, sample number and recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import rng
from dali_cr.ops import launch
from dali_cr.ops.draw import draw_blocks_on_gpu, draw_blocks_ref
from dali_cr.plan.swaps import Swaps, SwapSampler
from dali_cr.recipe.mask import MaskGrid
from dali_cr.recipe.restoration import Restoration
from dali_cr.volume.geometry import Triple


class MaskSampler:
    """Draws the masked blocks of samples: every set of so many blocks is as likely as any other.

    Parameters
    ----------
    seed : int
    shape : (3,) int
        Of the crop.
    grid : MaskGrid

    Attributes
    ----------
    boxes : int
        Masked blocks of a sample.
    masks : bool
        True: what is drawn are boxes to fill, and not to swap.

    Raises
    ------
    ValueError
        If the seed is no 64-bit unsigned integer.
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
            Read-only; for each block its origin, zeros, and its size, as `dali_cr.ops.erase` takes them.
        """
        out = np.empty((len(numbers), self.boxes, 3, 3), np.int32)
        draw_blocks_ref(self._seed, numbers, self._shape, self._block, out)
        out.flags.writeable = False
        return out[:, None]

    def draw_on_gpu(self, numbers: Any) -> Any:
        """Draw the masked blocks of samples on the GPU; as `draw`, of CuPy arrays."""
        out = launch.array_module().empty((len(numbers), self.boxes, 3, 3), np.int32)
        draw_blocks_on_gpu(self._seed, numbers, self._shape, self._block, out)
        return out[:, None]


def make_sampler(recipe: Restoration, seed: int) -> SwapSampler | MaskSampler:
    """Return what draws the boxes of a recipe's samples."""
    if recipe.mask_grid:
        return MaskSampler(seed, recipe.crop, recipe.mask_grid)
    return SwapSampler(seed, recipe.crop, recipe.swap)
