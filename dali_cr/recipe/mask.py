"""`MaskGrid`: the blocks of a crop and the number of masked blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dali_cr.recipe.checks import is_int, is_number
from dali_cr.volume.geometry import Triple

Block = int | Triple

MOST_BLOCKS = 65535
"""Largest number of masked blocks of a crop, the limit of boxes in one kernel launch."""

FEW_BLOCKS = 6
"""Number of blocks along an axis below which there is a warning (project choice): few blocks stay visible."""


@dataclass(frozen=True)
class MaskGrid:
    """Blocks of a crop, starting at its first voxel; the last block of an axis may be shorter.

    Attributes
    ----------
    block : (3,) int
        Edges of a block, in voxels.
    blocks : (3,) int
        Number of blocks along each axis.
    masked : int
        Number of masked blocks.
    """

    block: Triple
    blocks: Triple
    masked: int


def divide_into_blocks(crop: Triple, block: Block, ratio: float) -> MaskGrid:
    """Divide a crop into blocks and compute how many are masked.

    Parameters
    ----------
    crop : (3,) int
    block : int or (3,) int
        Edges in voxels. A single number becomes 1 along an axis on which the crop is one voxel thick.
    ratio : float
        ``round(ratio * blocks)`` blocks are masked.

    Raises
    ------
    ValueError
        If an argument is invalid, or no block, all blocks or too many blocks would be masked.

    Examples
    --------
    >>> divide_into_blocks((96, 96, 100), 16, 0.75)
    MaskGrid(block=(16, 16, 16), blocks=(6, 6, 7), masked=189)
    """
    edges: Any = (block,) * 3 if is_int(block) else block
    if not isinstance(edges, tuple) or len(edges) != 3 or not all(is_int(edge) and edge > 0 for edge in edges):
        raise ValueError(f"mask_block: expected a positive integer, or three for D, H, W, got {block!r}")
    if not is_number(ratio) or not 0 < ratio < 1:
        raise ValueError(f"mask_ratio: expected a number between 0 and 1, got {ratio!r}")
    d, h, w = (1 if is_int(block) and length == 1 else edge for edge, length in zip(edges, crop, strict=True))
    blocks = -(-crop[0] // d), -(-crop[1] // h), -(-crop[2] // w)
    number = math.prod(blocks)
    masked = round(ratio * number)
    if not 0 < masked < number:
        raise ValueError(
            f"mask_ratio: expected masked and visible blocks, got {masked} of {number} masked; use smaller blocks than "
            f"{(d, h, w)} in a crop of {tuple(crop)}, or another ratio"
        )
    if masked > MOST_BLOCKS:
        raise ValueError(f"mask_block: expected at most {MOST_BLOCKS} masked blocks, got {masked}; use larger blocks")
    return MaskGrid((d, h, w), blocks, masked)
