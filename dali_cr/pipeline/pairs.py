"""`Pairs`: samples of `Restoration`, a crop and the same crop with patches swapped, erased or masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops import launch
from dali_cr.ops.decode import decode_channel, decode_line, decode_volume, lie_of, padding_values, stored_dtype
from dali_cr.ops.erase import erase_in_place, erase_line
from dali_cr.ops.gather import gather_box, gather_crops
from dali_cr.ops.record import CLAMPED, RECORD_WORDS, VIEW_WORDS, Rescale, place_crops, place_views
from dali_cr.ops.swap import Swaps, swap_in_place, swap_line
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.samples import Arrays, Lie, Templates
from dali_cr.plan.masks import make_sampler
from dali_cr.plan.plans import Planner, Plans
from dali_cr.recipe.restoration import Restoration
from dali_cr.system.compiled import compiled
from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import Triple


class Pairs:
    """Input and target (B, C, D, H, W); of masked ones also the mask (B, 1, D, H, W) uint8, 1 where it was masked.

    Parameters
    ----------
    planner : CropPlanner
    """

    names: tuple[str, ...] = ("input", "target")
    inputs: tuple[str, ...] = ("records", "swaps")
    arrays = 1

    def __init__(self, planner: Planner) -> None:
        self.planner, self.recipe = planner, planner.recipe
        if self.recipe.pretext == "mae":
            self.names = (*self.names, "mask")
        self._channels = planner.index.channels
        self._templates = Templates(planner.index, self.recipe.normalize, views=self.recipe.spacing is not None)

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return input and target, and the mask where there is one."""
        crop, dtype = self.recipe.crop, self.recipe.dtype
        pair = tuple(Section(name, (count, self._channels, *crop), dtype) for name in Pairs.names)
        return (*pair, Section("mask", (count, 1, *crop), np.uint8)) if "mask" in self.names else pair

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return records (B, C, 16), with a spacing (B, C, 32), and swaps or blocks (B, T, 3, 3)."""
        words = VIEW_WORDS if self.recipe.spacing else RECORD_WORDS
        records = Section("records", (count, self._channels, words), np.int64)
        drawn = Section("swaps", (count, self.planner.sampler.boxes, 3, 3), np.int32)
        return (records, drawn) if swaps else (records,)

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Decode one channel of sample i, resample it where asked for, and swap, erase or mask in the input."""
        assert plans.swaps is not None
        input, target = out["input"][i, channel], out["target"][i, channel]
        stored = stored_dtype(target.dtype)
        lines = target.reshape(-1).view(stored), input.reshape(-1).view(stored)
        masked = self.recipe.pretext == "mae"
        erased = masked or self.recipe.pretext == "inpaint"
        fill = np.full(1, self.recipe.mask_value if masked else rescale.padding, self.recipe.dtype).view(stored)
        rest = (self.recipe.crop, *lines, plans.swaps[i], erased, fill)
        if plans.matrices is None or plans.offsets is None:
            flips, origin = plans.flips[i, 0].tolist(), plans.origins[i, 0].tolist()
            flipped = raw[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
            sides = zip(origin, flips, self.recipe.crop, raw.shape, strict=True)
            corner = tuple(edge - n - max(0, -o) if flip else max(0, -o) for o, flip, edge, n in sides)
            _restore(*lie_of(flipped, rescale), corner, *rest)
            return
        decoded = np.frombuffer(scratch("decoded", 4 * raw.size), np.float32).reshape(raw.shape)
        decode_channel(raw, rescale, decoded)
        single = target if target.dtype == np.float32 else np.frombuffer(scratch("single", 4 * target.size), np.float32)
        single = single.reshape(self.recipe.crop)
        first = plans.boxes[i, 0].tolist()
        gather_box(decoded, first, rescale.padding, plans.matrices[i, 0], plans.offsets[i, 0], single, clamped=True)
        if single is not target:
            target[...] = single
        _corrupt(*rest)

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Fill the mask of sample i; each channel is finished by itself."""
        if "mask" in self.names:
            assert plans.swaps is not None
            mask = out["mask"][i]
            mask[...] = 0
            erase_line(mask.reshape(-1), self.recipe.crop, plans.swaps[i], np.ones(1, np.uint8))

    def describe(self, plans: Plans, lie: Lie, out: Arrays) -> None:
        """Write the records and the boxes."""
        records, recipe = self._templates.take(plans, lie), self.recipe
        words = records.view(np.int64).reshape(*records.shape, -1)
        if plans.matrices is None or plans.offsets is None:
            itemsizes, shapes = self._templates.itemsizes[plans.cases], self._templates.shapes[plans.cases]
            where = plans.origins[:, 0], plans.flips[:, 0], recipe.crop
            place_crops(words, lie.firsts, lie.strides, itemsizes, *where, shapes)
        else:
            place_views(words[:, None], lie.firsts, lie.strides, plans.boxes, plans.matrices, plans.offsets, CLAMPED)
        out["records"][...] = words
        if "swaps" in out and plans.swaps is not None:
            out["swaps"][...] = plans.swaps[:, 0]

    def blank(self, out: Arrays) -> None:
        """Write records without a window, and swaps that move nothing."""
        out["records"][...] = 0
        if "swaps" in out:
            out["swaps"][...] = 0
            out["swaps"][..., 2, :] = 1

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, ...]:
        """Decode a batch into target and input, and swap, erase or mask in the input."""
        return finish_batch(inputs, recipe=self.recipe, seed=self.planner.seed, arena=arena)


def finish_batch(inputs: Arrays, *, recipe: Restoration, seed: int, arena: Any = None) -> tuple[Any, ...]:
    """Make a batch of pairs on a GPU from what `Pairs.describe` wrote; two launches, and a copy where resampled.

    Parameters
    ----------
    inputs : dict
        "raw" (B, bytes) uint8, "records" (B, C, 16) int64, with a spacing (B, C, 32), "swaps" (B, T, 3, 3) int32; or
        in place of the swaps (or blocks), to draw them, "sample" (B,) int64.
    recipe : Restoration
    seed : int
        Of the swaps.
    arena : (bytes,) uint8, optional
        Volumes kept, which records may point into.

    Returns
    -------
    input, target : (B, C, D, H, W)
    mask : (B, 1, D, H, W) uint8
        Of masked ones only.
    """
    raw, records, dtype = inputs["raw"], inputs["records"], recipe.dtype
    if recipe.spacing:
        target = gather_crops(raw, records, recipe.crop, dtype, arena=arena)
        input = target.copy()
    else:
        target, input = decode_volume(raw, records, recipe.crop, dtype, arena=arena, twice=True)
    swaps = inputs["swaps"] if "swaps" in inputs else make_sampler(recipe, seed).draw_on_gpu(inputs["sample"])[:, 0]
    if recipe.pretext == "mae":
        return input, target, _mask(input, swaps, recipe.mask_value)
    if recipe.pretext == "inpaint":
        erase_in_place(input, swaps, padding_values(records, dtype))
    else:
        swap_in_place(input, swaps)
    return input, target


def _mask(input: Any, blocks: Any, value: float) -> Any:
    """Fill blocks of a batch with a value, on a GPU; return the mask (B, 1, D, H, W) uint8."""
    xp = launch.array_module()
    mask = xp.zeros((len(input), 1, *input.shape[2:]), np.uint8)
    erase_in_place(mask, blocks, xp.ones((len(input), 1), np.uint8))
    erase_in_place(input, blocks, xp.full(input.shape[:2], value, input.dtype))
    return mask


@compiled
def _restore(
    line: Any,
    kind: Any,
    swapped: bool,
    start: int,
    strides: Triple,
    extent: Triple,
    numbers: tuple[float, float, float],
    limits: tuple[np.float32, np.float32, np.float32],
    keep: bool,
    corner: Triple,
    shape: Triple,
    target: Any,
    input: Any,
    swaps: Swaps,
    erased: bool,
    fill: Any,
) -> None:
    """Decode a crop into target and input, and swap or erase in the input; the first arguments are `decode_line`'s."""
    decode_line(line, kind, swapped, start, strides, extent, numbers, limits, keep, corner, shape, target, input, True)
    if erased:
        erase_line(input, shape, swaps, fill)
    else:
        swap_line(input, shape, swaps)


@compiled
def _corrupt(shape: Triple, target: Any, input: Any, swaps: Swaps, erased: bool, fill: Any) -> None:
    """Copy a target to its input, and swap or erase there."""
    input[:] = target
    if erased:
        erase_line(input, shape, swaps, fill)
    else:
        swap_line(input, shape, swaps)
