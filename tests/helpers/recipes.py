"""Provide recipes of both kinds, their sources and pipelines, and the bytes that these deliver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import dali_cr
from dali_cr.ops.contrast import adjust_contrast_ref
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.ops.erase import erase_in_place_ref
from dali_cr.ops.gather import gather_crops_ref
from dali_cr.ops.noise import add_noise_ref
from dali_cr.ops.records.layout import padding_values
from dali_cr.ops.swap import swap_in_place_ref
from dali_cr.pipeline.graph import build_loader_pipeline
from dali_cr.pipeline.multiview.cpu import finish_batch_ref
from dali_cr.pipeline.recipes import AnySource, make_samples
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.pipeline.sources.raw import RawSource
from dali_cr.plan.stream import Stream
from dali_cr.read.cache import Cache, parse_cache
from dali_cr.read.gpu_cache import Arena, frame_bytes

INDEXES = ["mixed_index", "channel_index"]
"""Names of fixtures."""

PAIRS = dali_cr.Restoration(crop=(16, 20, 24), swap=dali_cr.Swap(8, (2, 6)), flips=("D", "H", "W"), foreground=0.5)
SPACED = replace(PAIRS, spacing=(1.3, 0.8, 0.6))
TURNED = replace(PAIRS, degrees=40.0, scale=(0.7, 1.4), affine_probability=0.6)
CHANGED = replace(PAIRS, noise=0.5, gamma=0.7, intensity_probability=0.6)
MASKED = replace(PAIRS, pretext="mae", mask_block=(2, 3, 4))
VIEWS = dali_cr.Views(
    shape=(6, 10, 12),
    sizes=((6, 10, 12), (9, 9, 12), (12, 15, 20)),
    local_shape=(4, 5, 4),
    local_sizes=((4, 4, 4), (2, 3, 4), (6, 8, 6)),
    locals=3,
    swap=dali_cr.Swap(5, 2),
    flips=("D", "H", "W"),
    normalize=("window", -10, 100),
    foreground=0.5,
)
RECIPES: dict[str, Any] = {"pairs": PAIRS, "views": VIEWS}
"""One recipe of each kind."""

PAIRS_OF: dict[str, dali_cr.Restoration] = {
    "zscore": PAIRS,
    "percentile, float16": replace(PAIRS, normalize="percentile", dtype="float16"),
    "window, thick crop": replace(PAIRS, normalize=("window", 0, 100), crop=(45, 8, 41)),
    "plain, thin crop": replace(PAIRS, normalize=None, crop=(1, 33, 7)),
    "no swaps": replace(PAIRS, swap=dali_cr.Swap(0, 2)),
    "each patch once": replace(PAIRS, swap=dali_cr.Swap(8, (2, 6), overlap=False)),
    "inpaint": replace(PAIRS, pretext="inpaint"),
    "inpaint, plain": replace(PAIRS, pretext="inpaint", normalize=None),
    "inpaint, float16": replace(PAIRS, pretext="inpaint", normalize=("window", 0, 100), dtype="float16"),
    "resampled": SPACED,
    "resampled, float16": replace(PAIRS, spacing=(0.7, 1.0, 1.2), normalize=("window", 0, 100), dtype="float16"),
    "autoencode": replace(PAIRS, pretext="autoencode"),
    "mae": MASKED,
    "mae, float16": replace(MASKED, normalize="percentile", dtype="float16", mask_ratio=0.4, mask_value=-0.3),
    "mae, resampled": replace(MASKED, spacing=(1.3, 0.8, 0.6)),
    "rotated and scaled": TURNED,
    "noise and gamma": CHANGED,
    "augmented, float16, resampled": replace(
        SPACED, degrees=40.0, scale=(0.7, 1.4), affine_probability=0.6, noise=0.5, gamma=0.7, dtype="float16"
    ),
}
VIEWS_OF: dict[str, dali_cr.Views] = {
    "window": VIEWS,
    "percentile": replace(VIEWS, normalize="percentile"),
    "views, resampled": replace(VIEWS, spacing=(1.5, 0.7, 1.0)),
    "turned far": replace(VIEWS, degrees=180, scale=0.5),
    "flat": replace(
        VIEWS,
        shape=(1, 10, 12),
        sizes=((1, 10, 12), (1, 9, 12), (1, 15, 20)),
        local_shape=(1, 5, 4),
        local_sizes=((1, 4, 4), (1, 3, 4), (1, 8, 6)),
        swap=dali_cr.Swap(5, (1, 2, 2)),
    ),
    "untouched": replace(VIEWS, degrees=0, scale=0, blur=0, noise=0, gamma=0, swap=dali_cr.Swap(0)),
}

RADIOGRAPHS = dali_cr.Views(
    shape=(1, 12, 12),
    local_shape=(1, 6, 6),
    area=(0.3, 1.0),
    local_area=(0.05, 0.3),
    locals=3,
    swap=dali_cr.Swap(0),
    scale=0.0,
    noise=0.0,
    gamma=0.0,
    blur_probability=0.5,
    isotropic_blur=True,
    brightness=0.4,
    contrast=0.4,
    cutout=(3, 4),
    standardize=(0.449, 0.226),
    normalize="percentile",
)
"""The transforms of the authors' 2-D code, in small."""

CORRUPTED: dict[str, dali_cr.Views] = {
    "radiographs": RADIOGRAPHS,
    "holes": replace(VIEWS, cutout=(2, 3), blur_probability=0.4),
}
"""Views with holes or another brightness and contrast."""


def finished(index: dali_cr.Index, recipe: Any, seed: int, batch_size: int, **options: Any) -> FinishedSource:
    """Return the source of the CPU graph."""
    return FinishedSource(make_samples(index, recipe, seed), Stream(batch_size, options.pop("start", 0)), **options)


def raw(index: dali_cr.Index, recipe: Any, seed: int, batch_size: int, **options: Any) -> RawSource:
    """Return the source of the GPU graph."""
    return RawSource(make_samples(index, recipe, seed), Stream(batch_size, options.pop("start", 0)), **options)


def by_reference(source: AnySource, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the finished arrays of a batch; raw batches are finished by the CPU references."""
    if isinstance(source, FinishedSource):
        return arrays
    recipe, seed = source.planner.recipe, source.planner.seed
    numbers = {"sample": arrays["sample"]}
    if isinstance(recipe, dali_cr.Views):
        made = finish_batch_ref(arrays, recipe=recipe, seed=seed)
        return dict(zip(source.samples.names, made, strict=True)) | numbers
    records, swaps = arrays["records"], arrays["swaps"]
    decode: Any = gather_crops_ref if recipe.interpolated else decode_volume_ref
    target = decode(arrays["raw"], records, recipe.crop, "float32" if recipe.intensity else recipe.dtype)
    input = target.copy()
    if recipe.intensity:
        each, counters = input.reshape(-1, 1, *recipe.crop), arrays["counters"].reshape(-1, 2)
        add_noise_ref(each, arrays["stds"].reshape(-1), seed, counters, each)
        adjust_contrast_ref(input, arrays["exponents"], input)
        target, input = target.astype(recipe.dtype), input.astype(recipe.dtype)
    if recipe.pretext == "mae":
        erase_in_place_ref(input, swaps, np.full(input.shape[:2], recipe.mask_value, input.dtype))
        mask = np.zeros((len(input), 1, *recipe.crop), np.uint8)
        erase_in_place_ref(mask, swaps, np.ones((len(input), 1), np.uint8))
        return {"input": input, "target": target, "mask": mask} | numbers
    if recipe.pretext == "inpaint":
        erase_in_place_ref(input, swaps, padding_values(records, recipe.dtype))
    else:
        swap_in_place_ref(input, swaps)
    return {"input": input, "target": target} | numbers


def content(source: AnySource, k: int) -> dict[str, Any]:
    """Return dtype, shape and bytes of the finished arrays of batch k."""
    return {n: (a.dtype.name, a.shape, a.tobytes()) for n, a in by_reference(source, source.batch(k)).items()}


def outputs_of(pipe: Any, steps: int) -> list[list[Any]]:
    """Return dtype, shape and bytes of the outputs of a pipeline of single samples, without sample numbers."""
    return [[_content(np.array(out.as_array())) for out in pipe.run()[:-1]] for _ in range(steps)]


def outputs_of_whole(source: AnySource, steps: int, prefetch: int = 2) -> list[list[Any]]:
    """Return the same for the graph of a loader, where a batch is one DALI sample."""
    pipe = build_loader_pipeline(source, "cpu", prefetch, source.batch)
    return [[_content(np.array(out.as_array())[0]) for out in pipe.run()] for _ in range(steps)]


def _content(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype.name, array.shape, array.tobytes()


def emulated_source(
    samples: Any, stream: Stream, device: str, levels: Any, cache: Cache, *, whole: bool, **options: Any
) -> RawSource:
    """Return the source of the GPU graph for a loader on a CPU; replaces `dali_cr.pipeline.recipes.make_source`."""
    budgets = [budget for kind, _, budget in map(parse_cache, levels) if kind == "gpu"]
    arena = Arena(sum(budgets), samples.templates.index) if budgets else None
    return RawSource(samples, stream, arena=arena, whole=whole, cache=cache, **options)


def loader(index: dali_cr.Index, recipe: Any, **options: Any) -> dali_cr.Loader:
    """Return a loader with `OPTIONS` as defaults."""
    return dali_cr.Loader(index, recipe, **(OPTIONS | options))


OPTIONS: dict[str, Any] = {"batch_size": 4, "device": "cpu", "seed": 5}
"""The fixture `each_device` changes the device."""


def samples(stream: dali_cr.Loader, steps: int | None = None) -> dict[int, bytes]:
    """Return the delivered content of each sample number, for an epoch or a number of steps."""
    out: dict[int, bytes] = {}
    for step, batch in enumerate(stream.stream() if steps else stream):
        for number, made in contents(batch).items():
            assert number not in out
            out[number] = made
        if step + 1 == steps:
            break
    return out


def contents(batch: dict[str, Any]) -> dict[int, bytes]:
    """Return the content of a batch for each sample number."""
    arrays = [batch[name].cpu().numpy() for name in sorted(batch.keys() - {"sample", "case"})]
    return {n: b"".join(array[i].tobytes() for array in arrays) for i, n in enumerate(batch["sample"].tolist())}


def total(index: dali_cr.Index) -> int:
    """Return the GPU memory in bytes for all volumes."""
    return sum(frame_bytes(volume.geometry) for case in index.cases for volume in case.volumes)
