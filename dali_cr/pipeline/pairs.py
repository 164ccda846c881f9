"""`Pairs`: samples of `Restoration`, with a crop as target and a copy with swapped, erased or masked patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.contrast import adjust_contrast, adjust_contrast_ref
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.cpu.lines import decode_arguments, decode_line, stored_dtype
from dali_cr.ops.decode import decode_channel, decode_volume
from dali_cr.ops.erase import erase_in_place, erase_line
from dali_cr.ops.gather import gather_box, gather_crops
from dali_cr.ops.gpu import launch
from dali_cr.ops.noise import add_noise, add_noise_ref
from dali_cr.ops.records.crops import place_crops
from dali_cr.ops.records.layout import CLAMPED, NEAREST, RECORD_WORDS, VIEW_WORDS, padding_values
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.records.views import place_views
from dali_cr.ops.swap import swap_in_place, swap_line
from dali_cr.pipeline.memory import Section
from dali_cr.pipeline.samples import Arrays, Templates, VoxelLayout
from dali_cr.plan.masks import make_sampler
from dali_cr.plan.plans import Planner, Plans
from dali_cr.recipe.restoration import Restoration
from dali_cr.system.compiled import compiled
from dali_cr.system.scratch import scratch
from dali_cr.volume.geometry import Triple

Floats = npt.NDArray[np.float32]

INTENSITIES = ("stds", "exponents", "counters")
"""Names of the GPU's inputs for noise and gamma."""


class Pairs:
    """Samples with input and target (B, C, D, H, W), and for masked samples a mask (B, 1, D, H, W) uint8, 1 if masked.

    Parameters
    ----------
    planner : CropPlanner
    masks : bool
        Whether to use the anonymisation masks of cases, if there are any: "valid" (B, 1, D, H, W) uint8 is then 0 where
        the mask is not 0 in the target, and 1 elsewhere, also outside of the volume.
    """

    names: tuple[str, ...] = ("input", "target")
    inputs: tuple[str, ...] = ("records", "swaps")
    """Names of the inputs, with `INTENSITIES` if there is noise or gamma."""
    arrays = 1

    def __init__(self, planner: Planner, *, masks: bool = True) -> None:
        self.planner, self.recipe = planner, planner.recipe
        if self.recipe.pretext == "mae":
            self.names = (*self.names, "mask")
        if self.recipe.intensity:
            self.inputs = (*self.inputs, *INTENSITIES)
        self._channels = planner.index.channels
        self.templates = Templates(planner.index, self.recipe.normalize, views=self.recipe.interpolated, masks=masks)
        if self.templates.masks:
            self.names = (*self.names, "valid")

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return the sections of input and target, of the mask for masked samples, and of valid voxels."""
        crop, dtype = self.recipe.crop, self.recipe.dtype
        pair = tuple(Section(name, (count, self._channels, *crop), dtype) for name in Pairs.names)
        return (*pair, *(Section(name, (count, 1, *crop), np.uint8) for name in self.names[len(pair) :]))

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return the sections of records (B, C, 16), or (B, C, 32) if interpolated, of boxes, and of intensities."""
        words = VIEW_WORDS if self.recipe.interpolated else RECORD_WORDS
        sections = [Section("records", (count, self.templates.index.channels, words), np.int64)]
        if swaps:
            sections.append(Section("swaps", (count, self.planner.sampler.boxes, 3, 3), np.int32))
        if self.recipe.intensity:
            sections.append(Section("stds", (count, self._channels), np.float32))
            sections.append(Section("exponents", (count,), np.float32))
            sections.append(Section("counters", (count, self._channels, 2), np.int64))
        return tuple(sections)

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Decode one channel of sample i, resample it if required, and corrupt the input: intensities, then patches."""
        if channel == self._channels:
            self._fill_valid(plans, i, raw, rescale, out["valid"][i, 0])
            return
        assert plans.swaps is not None
        input, target = out["input"][i, channel], out["target"][i, channel]
        stored = stored_dtype(target.dtype)
        lines = target.reshape(-1).view(stored), input.reshape(-1).view(stored)
        masked = self.recipe.pretext == "mae"
        erased = masked or self.recipe.pretext == "inpaint"
        fill = np.full(1, self.recipe.mask_value if masked else rescale.padding, self.recipe.dtype).view(stored)
        rest = (self.recipe.crop, *lines, plans.swaps[i], erased, fill)
        drawn = plans.augmentation
        moved = bool(drawn and drawn.moved[i]) or self.recipe.resampled
        changed = bool(drawn and drawn.changed[i])
        if not moved and not changed:
            _restore(*self._crop_of(plans, i, raw, rescale), *rest)
            return
        single = self._single("single", target)
        if moved:
            self._sample(plans, i, raw, rescale, single)
        else:
            line = single.reshape(-1)
            decode_line(*self._crop_of(plans, i, raw, rescale), self.recipe.crop, line, line, False)
        if single is not target:
            target[...] = single
        if changed:
            self._change(plans, i, channel, single, input)
        _corrupt(*rest, not changed)

    def _crop_of(self, plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale) -> tuple[Any, ...]:
        """Return the first arguments of `_restore` for a crop that is not interpolated: its position in the box."""
        flips, origin = plans.flips[i, 0].tolist(), plans.origins[i, 0].tolist()
        flipped = raw[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        sides = zip(origin, flips, self.recipe.crop, raw.shape, strict=True)
        corner = tuple(edge - n - max(0, -o) if flip else max(0, -o) for o, flip, edge, n in sides)
        return *decode_arguments(flipped, rescale), corner

    def _sample(self, plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale, out: Floats) -> None:
        """Decode a box and interpolate the crop through its affine map."""
        assert plans.matrices is not None
        assert plans.offsets is not None
        decoded = np.frombuffer(scratch("decoded", 4 * raw.size), np.float32).reshape(raw.shape)
        decode_channel(raw, rescale, decoded)
        first = plans.boxes[i, 0].tolist()
        gather_box(decoded, first, rescale.padding, plans.matrices[i, 0], plans.offsets[i, 0], out, clamped=True)

    def _change(self, plans: Plans, i: int, channel: int, clean: Floats, out: npt.NDArray[Any]) -> None:
        """Write a crop with noise and a gamma."""
        assert plans.augmentation is not None
        single, drawn = self._single("changed", out), plans.augmentation
        volumes, counter = single[None, None], np.array([[plans.numbers[i], channel]])
        add_noise_ref(clean[None, None], drawn.stds[i : i + 1], self.planner.seed, counter, volumes)
        adjust_contrast_ref(volumes, drawn.exponents[i : i + 1], volumes)
        if single is not out:
            out[...] = single

    def _single(self, name: str, out: npt.NDArray[Any]) -> Floats:
        """Return an output, or a float32 buffer for it if it is float16."""
        if out.dtype == np.float32:
            return out
        return np.frombuffer(scratch(name, 4 * out.size), np.float32).reshape(out.shape)

    def _fill_valid(
        self, plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale, out: npt.NDArray[np.uint8]
    ) -> None:
        """Write the valid voxels of sample i from the raw voxels of its mask, by nearest-neighbour interpolation."""
        first, box = plans.boxes[i, 0], np.frombuffer(scratch("decoded", 4 * raw.size), np.float32).reshape(raw.shape)
        decode_channel(raw, rescale, box)
        mask = np.frombuffer(scratch("single", 4 * out.size), np.float32).reshape(self.recipe.crop)
        if plans.matrices is not None and plans.offsets is not None:
            gather_box(box, first.tolist(), 0.0, plans.matrices[i, 0], plans.offsets[i, 0], mask, nearest=True)
        else:
            mask[...] = 0
            inside = tuple(
                slice(a, a + n) for a, n in zip((first - plans.origins[i, 0]).tolist(), raw.shape, strict=True)
            )
            mask[inside] = box
            mask = mask[tuple(slice(None, None, -1 if flip else 1) for flip in plans.flips[i, 0].tolist())]
        out[...] = mask == 0

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Write the mask of sample i."""
        if "mask" in self.names:
            assert plans.swaps is not None
            mask = out["mask"][i]
            mask[...] = 0
            erase_line(mask.reshape(-1), self.recipe.crop, plans.swaps[i], np.ones(1, np.uint8))

    def describe(self, plans: Plans, layout: VoxelLayout, out: Arrays) -> None:
        """Write the records and boxes of a batch."""
        records, recipe = self.templates.take(plans, layout), self.recipe
        words = records.view(np.int64).reshape(*records.shape, -1)
        if plans.matrices is None or plans.offsets is None:
            itemsizes, shapes = self.templates.itemsizes[plans.cases], self.templates.shapes[plans.cases]
            where = plans.origins[:, 0], plans.flips[:, 0], recipe.crop
            place_crops(words, layout.firsts, layout.strides, itemsizes, *where, shapes)
        else:
            modes = np.full(records.shape[1], CLAMPED, np.int64)
            if self.templates.masks:
                modes[-1] = NEAREST
            maps = plans.boxes, plans.matrices, plans.offsets
            place_views(words[:, None], layout.firsts, layout.strides, *maps, modes)
        out["records"][...] = words
        if plans.augmentation and "counters" in out:
            out["stds"][...] = plans.augmentation.stds[:, None]
            out["exponents"][...] = plans.augmentation.exponents
            out["counters"][..., 0], out["counters"][..., 1] = plans.numbers[:, None], np.arange(self._channels)
        if "swaps" in out and plans.swaps is not None:
            out["swaps"][...] = plans.swaps[:, 0]

    def blank(self, out: Arrays) -> None:
        """Write records without voxels, swaps without effect, and intensities without effect."""
        for array in out.values():
            array[...] = 0
        if "swaps" in out:
            out["swaps"][..., 2, :] = 1
        if "exponents" in out:
            out["exponents"][...] = 1

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, ...]:
        """Decode and sample a batch into target and input, and corrupt the input: intensities, then patches."""
        valid: tuple[Any, ...] = ()
        if self.templates.masks:
            records = inputs["records"]
            valid = (find_valid(inputs["raw"], records[:, -1:].copy(), self.recipe, arena=arena),)
            inputs = inputs | {"records": records[:, :-1].copy()}
        return *finish_batch(inputs, recipe=self.recipe, seed=self.planner.seed, arena=arena), *valid


def finish_batch(inputs: Arrays, *, recipe: Restoration, seed: int, arena: Any = None) -> tuple[Any, ...]:
    """Make a batch of pairs on a GPU from the output of `Pairs.describe`.

    Parameters
    ----------
    inputs : dict
        "raw" (B, bytes) uint8, "records" (B, C, 16) int64, or (B, C, 32) if interpolated, "swaps" (B, T, 3, 3) int32;
        without "swaps" the boxes are drawn from "sample" (B,) int64. With noise or gamma also "stds" (B, C) and
        "exponents" (B,) float32, and "counters" (B, C, 2) int64.
    recipe : Restoration
    seed : int
        Seed of swaps or blocks, and of noise.
    arena : (bytes,) uint8, optional
        Memory with cached volumes that records may refer to.

    Returns
    -------
    input, target : (B, C, D, H, W)
    mask : (B, 1, D, H, W) uint8
        Only for masked samples.
    """
    raw, records, dtype = inputs["raw"], inputs["records"], recipe.dtype
    decoded = "float32" if recipe.intensity else dtype
    if recipe.interpolated:
        target = gather_crops(raw, records, recipe.crop, decoded, arena=arena)
        input = target.copy()
    else:
        target, input = decode_volume(raw, records, recipe.crop, decoded, arena=arena, twice=True)
    if recipe.intensity:
        _change(input, inputs, seed)
        target, input = target.astype(dtype, copy=False), input.astype(dtype, copy=False)
    swaps = inputs["swaps"] if "swaps" in inputs else make_sampler(recipe, seed).draw_on_gpu(inputs["sample"])[:, 0]
    if recipe.pretext == "mae":
        return input, target, _mask(input, swaps, recipe.mask_value)
    if recipe.pretext == "inpaint":
        erase_in_place(input, swaps, padding_values(records, dtype))
    else:
        swap_in_place(input, swaps)
    return input, target


def find_valid(raw: Any, records: Any, recipe: Restoration, *, arena: Any = None) -> Any:
    """Return the valid voxels of a batch, where the mask is 0, on a GPU.

    Parameters
    ----------
    raw : (B, bytes) uint8
    records : (B, 1, 16) or (B, 1, 32) int64
        Records of the masks.
    recipe : Restoration
    arena : (bytes,) uint8, optional

    Returns
    -------
    valid : (B, 1, D, H, W) uint8
    """
    sample = gather_crops if recipe.interpolated else decode_volume
    return (sample(raw, records, recipe.crop, "float32", arena=arena) == 0).astype(np.uint8)


def _change(input: Any, inputs: Arrays, seed: int) -> None:
    """Add noise and apply gammas to each channel of a batch, on a GPU."""
    counters, stds = inputs["counters"].reshape(-1, 2), inputs["stds"].reshape(-1)
    add_noise(input.reshape(-1, 1, *input.shape[2:]), stds, seed, counters)
    adjust_contrast(input, inputs["exponents"])


def _mask(input: Any, blocks: Any, value: float) -> Any:
    """Set blocks of a batch to a value on a GPU; return the mask (B, 1, D, H, W) uint8."""
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
    """Decode a crop into target and input, and swap or erase in the input; first arguments as in `decode_line`."""
    decode_line(line, kind, swapped, start, strides, extent, numbers, limits, keep, corner, shape, target, input, True)
    if erased:
        erase_line(input, shape, swaps, fill)
    else:
        swap_line(input, shape, swaps)


@compiled
def _corrupt(shape: Triple, target: Any, input: Any, swaps: Swaps, erased: bool, fill: Any, copy: bool) -> None:
    """Copy a target to its input, unless it was copied already, and swap or erase in the input."""
    if copy:
        input[:] = target
    if erased:
        erase_line(input, shape, swaps, fill)
    else:
        swap_line(input, shape, swaps)
