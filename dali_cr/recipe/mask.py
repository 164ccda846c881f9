"""`MaskGrid`: the blocks that a crop is divided into, and how many of them are masked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dali_cr.recipe.checks import is_int
from dali_cr.volume.geometry import Triple

Block = int | Triple

MOST_BLOCKS = 65535
"""Masked in a crop; a kernel fills no more boxes in one launch."""

FEW_BLOCKS = 6
"""Fewer along an axis are warned of (project choice): most lie at a face of the crop, and few are left to see."""


@dataclass(frozen=True)
class MaskGrid:
    """Blocks of a crop, from its first voxel on; the last of an axis is cut short where they do not divide it.

    Attributes
    ----------
    block : (3,) int
        Edges of a block, in voxels.
    blocks : (3,) int
        How many there are along each axis.
    masked : int
        How many of all are masked.
    """

    block: Triple
    blocks: Triple
    masked: int


def divide_into_blocks(crop: Triple, block: Block, ratio: float) -> MaskGrid:
    """Divide a crop into blocks to mask a share of.

    Parameters
    ----------
    crop : (3,) int
    block : int or (3,) int
        Edges in voxels. Where the crop is one voxel thick, an edge given for all axes is 1 on that axis.
    ratio : float
        ``round(ratio * blocks)`` are masked.

    Raises
    ------
    ValueError
        If these are no edges or no share, none or all of the blocks would be masked, or too many.

    Examples
    --------
    >>> divide_into_blocks((96, 96, 100), 16, 0.75)
    MaskGrid(block=(16, 16, 16), blocks=(6, 6, 7), masked=189)
    """
    edges: Any = (block,) * 3 if is_int(block) else block
    if not isinstance(edges, tuple) or len(edges) != 3 or not all(is_int(edge) and edge > 0 for edge in edges):
        raise ValueError(f"mask_block: expected a positive integer, or three for D, H, W, got {block!r}")
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
        raise ValueError(f"mask_ratio: expected a number between 0 and 1, got {ratio!r}")
    d, h, w = (1 if is_int(block) and length == 1 else edge for edge, length in zip(edges, crop, strict=True))
    blocks = -(-crop[0] // d), -(-crop[1] // h), -(-crop[2] // w)
    number = math.prod(blocks)
    masked = round(ratio * number)
    if not 0 < masked < number:
        raise ValueError(
            f"mask_ratio: expected some of {number} blocks and not all of them, got {masked}; take smaller blocks than "
            f"{(d, h, w)} in a crop of {tuple(crop)}, or another ratio"
        )
    if masked > MOST_BLOCKS:
        raise ValueError(f"mask_block: expected at most {MOST_BLOCKS} masked blocks, got {masked}; take larger ones")
    return MaskGrid((d, h, w), blocks, masked)
