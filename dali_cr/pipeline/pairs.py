"""What a GPU makes of a batch of raw crops: targets, and the same crops with patches swapped or erased."""

from __future__ import annotations

from typing import Any

from dali_cr.ops.decode import decode_volume, fill_values
from dali_cr.ops.erase import erase_in_place
from dali_cr.ops.gather import gather_crops
from dali_cr.ops.launch import as_batch
from dali_cr.ops.swap import swap_in_place
from dali_cr.read.gpu_cache import Arena
from dali_cr.recipe.restoration import Restoration


def restore_batch(
    raw: list[Any], records: list[Any], swaps: list[Any], *, recipe: Restoration, arena: Arena | None = None
) -> tuple[list[Any], list[Any]]:
    """Decode a batch, once for the target and once to swap or erase in; two launches, and a copy where resampled.

    Parameters
    ----------
    raw : list of B (bytes,) uint8
    records : list of B (C, 16) int64, with a spacing (C, 32)
    swaps : list of B (T, 3, 3) int32
    recipe : Restoration
    arena : Arena, optional
        Takes the volumes that this batch brings, and is read in place.

    Returns
    -------
    input, target : list of B (C, D, H, W)
    """
    rows, words, kept = as_batch(raw), as_batch(records), None
    if arena:
        arena.upload(rows)
        kept = arena.memory
    if recipe.spacing:
        target = gather_crops(rows, words, recipe.crop, recipe.dtype, arena=kept)
        input = target.copy()
    else:
        target, input = decode_volume(rows, words, recipe.crop, recipe.dtype, arena=kept, twice=True)
    if recipe.pretext == "inpaint":
        erase_in_place(input, as_batch(swaps), fill_values(words, recipe.dtype))
    else:
        swap_in_place(input, as_batch(swaps))
    return list(input), list(target)
