"""Make pairs on the CPU, one channel of one sample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.contrast import adjust_contrast_ref
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.ops.cpu.lines import decode_arguments, decode_line, stored_dtype
from dali_cr.ops.decode import decode_channel
from dali_cr.ops.erase import erase_line
from dali_cr.ops.gather import gather_box
from dali_cr.ops.noise import add_noise_ref
from dali_cr.ops.records.rescale import Rescale
from dali_cr.ops.swap import swap_line
from dali_cr.plan.plans import Plans
from dali_cr.recipe.restoration import Restoration
from dali_cr.system.compiled import compiled
from dali_cr.system.scratch import scratch_floats
from dali_cr.volume.geometry import Triple

Floats = npt.NDArray[np.float32]


def make_channel(
    recipe: Restoration,
    seed: int,
    plans: Plans,
    i: int,
    channel: int,
    raw: npt.NDArray[Any],
    rescale: Rescale,
    target: npt.NDArray[Any],
    input: npt.NDArray[Any],
) -> None:
    """Decode one channel of sample i, resample it if required, and corrupt the input: intensities, then patches.

    Parameters
    ----------
    recipe : Restoration
    seed : int
        Seed of the noise.
    plans : Plans
    i, channel : int
    raw : (d, h, w)
        Raw voxels of the sample's box.
    rescale : Rescale
    target, input : (D, H, W) float32 or float16
        Output arrays.
    """
    assert plans.swaps is not None
    stored = stored_dtype(target.dtype)
    lines = target.reshape(-1).view(stored), input.reshape(-1).view(stored)
    masked = recipe.pretext == "mae"
    erased = masked or recipe.pretext == "inpaint"
    fill = np.full(1, recipe.mask_value if masked else rescale.padding, recipe.dtype).view(stored)
    rest = (recipe.crop, *lines, plans.swaps[i], erased, fill)
    drawn = plans.augmentation
    moved = bool(drawn and drawn.moved[i]) or recipe.resampled
    changed = bool(drawn and drawn.changed[i])
    if not moved and not changed:
        _restore(*_decoding_of(recipe, plans, i, raw, rescale), *rest)
        return
    clean = _single("single", target)
    if moved:
        _interpolate(plans, i, raw, rescale, clean)
    else:
        line = clean.reshape(-1)
        decode_line(*_decoding_of(recipe, plans, i, raw, rescale), recipe.crop, line, line, False)
    if clean is not target:
        target[...] = clean
    if changed:
        _change(plans, i, channel, seed, clean, input)
    _corrupt(*rest, not changed)


def make_valid(
    recipe: Restoration, plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale, out: npt.NDArray[np.uint8]
) -> None:
    """Write the valid voxels of sample i from the raw voxels of its mask, by nearest-neighbour interpolation.

    Parameters
    ----------
    recipe, plans, i, raw, rescale
        As for `make_channel`.
    out : (D, H, W) uint8
        Output array: 1 where the mask is 0.
    """
    first, box = plans.boxes[i, 0], scratch_floats("decoded", raw.shape)
    decode_channel(raw, rescale, box)
    mask = scratch_floats("single", recipe.crop)
    if plans.matrices is not None and plans.offsets is not None:
        gather_box(box, first.tolist(), 0.0, plans.matrices[i, 0], plans.offsets[i, 0], mask, nearest=True)
    else:
        mask[...] = 0
        corner = (first - plans.origins[i, 0]).tolist()
        mask[tuple(slice(a, a + n) for a, n in zip(corner, raw.shape, strict=True))] = box
        mask = mask[_turned(plans.flips[i, 0].tolist())]
    out[...] = mask == 0


def _turned(flips: list[bool]) -> tuple[slice, ...]:
    """Return the slices that flip an array along its axes."""
    return tuple(slice(None, None, -1 if flip else 1) for flip in flips)


def _decoding_of(recipe: Restoration, plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale) -> tuple[Any, ...]:
    """Return the first arguments of `_restore` for a crop that is not interpolated: its position in the box."""
    flips, origin = plans.flips[i, 0].tolist(), plans.origins[i, 0].tolist()
    sides = zip(origin, flips, recipe.crop, raw.shape, strict=True)
    corner = tuple(edge - n - max(0, -o) if flip else max(0, -o) for o, flip, edge, n in sides)
    return *decode_arguments(raw[_turned(flips)], rescale), corner


def _interpolate(plans: Plans, i: int, raw: npt.NDArray[Any], rescale: Rescale, out: Floats) -> None:
    """Decode a box and interpolate the crop through its affine map."""
    assert plans.matrices is not None
    assert plans.offsets is not None
    decoded = scratch_floats("decoded", raw.shape)
    decode_channel(raw, rescale, decoded)
    first = plans.boxes[i, 0].tolist()
    gather_box(decoded, first, rescale.padding, plans.matrices[i, 0], plans.offsets[i, 0], out, clamped=True)


def _change(plans: Plans, i: int, channel: int, seed: int, clean: Floats, out: npt.NDArray[Any]) -> None:
    """Write a crop with noise and a gamma."""
    assert plans.augmentation is not None
    changed, drawn = _single("changed", out), plans.augmentation
    volumes, counter = changed[None, None], np.array([[plans.numbers[i], channel]])
    add_noise_ref(clean[None, None], drawn.stds[i : i + 1], seed, counter, volumes)
    adjust_contrast_ref(volumes, drawn.exponents[i : i + 1], volumes)
    if changed is not out:
        out[...] = changed


def _single(name: str, out: npt.NDArray[Any]) -> Floats:
    """Return an output, or a float32 buffer for it if it is float16."""
    return out if out.dtype == np.float32 else scratch_floats(name, out.shape)


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
    _corrupt(shape, target, input, swaps, erased, fill, False)


@compiled
def _corrupt(shape: Triple, target: Any, input: Any, swaps: Swaps, erased: bool, fill: Any, copy: bool) -> None:
    """Copy a target to its input, unless it was copied already, and swap or erase in the input."""
    if copy:
        input[:] = target
    if erased:
        erase_line(input, shape, swaps, fill)
    else:
        swap_line(input, shape, swaps)
