"""DALI operators for use in a `@pipeline_def`: read samples, decode volumes, draw and swap patches.

Operators run on the device of their data: the CUDA kernel for `data.gpu()`, the reference for CPU data, with the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dali_cr import rng
from dali_cr.index.cases import Index
from dali_cr.ops.decode import decode_volume as decode_batch
from dali_cr.ops.decode import decode_volume_ref
from dali_cr.ops.gather import gather_crops, gather_crops_ref
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import as_batch
from dali_cr.ops.records.layout import VIEW_WORDS
from dali_cr.ops.swap import check_swaps, swap_in_place, swap_in_place_ref
from dali_cr.pipeline.advice import warn_of_masks
from dali_cr.pipeline.graph import Node, batches_of, external, on_batch, on_gpu
from dali_cr.pipeline.multiview.cpu import finish_batch_ref
from dali_cr.pipeline.multiview.gpu import finish_batch
from dali_cr.pipeline.multiview.samples import MultiView
from dali_cr.pipeline.pairs.samples import Pairs
from dali_cr.pipeline.samples import Samples
from dali_cr.pipeline.sources.raw import RawSource
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.stream import Stream
from dali_cr.plan.swaps import draw_batch
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.swap import Swap
from dali_cr.recipe.views import Views
from dali_cr.volume.geometry import Triple


def read_samples(
    index: Index,
    recipe: Restoration,
    *,
    batch_size: int,
    seed: int = 0,
    threads: int | None = None,
    weights: Weights | None = None,
) -> tuple[Node, Node, Node, Node]:
    """Read and decompress the planned samples of an index; nothing is decoded yet.

    Parameters
    ----------
    index : Index
    recipe : Restoration
    batch_size : int
        Batch size of the pipeline.
    seed : int
    threads : int, optional
        Number of threads that read and decompress. Default: one per core.
    weights : mapping of str to float, optional
        Weights of the data sets; as for `dali_cr.Loader`.

    Returns
    -------
    raw : (bytes,) uint8
        Raw voxels of the crop in the order of the file.
    records : (C, 16) int64, or (C, 32) with a spacing, rotation or scaling
        For `decode_volume`.
    swaps : (T, 3, 3) int32
        For `swap_patches`.
    sample : int64
        The sample number.

    Raises
    ------
    ValueError
        If the recipe masks blocks, or adds noise or a gamma, for which there is no operator.
    """
    samples = Pairs(CropPlanner(index, recipe, seed, weights), masks=False)
    warn_of_masks(index, samples.names)
    if recipe.pretext == "mae":
        raise ValueError("pretext: expected one with swaps, got 'mae'; use dali_cr.restoration_pipeline")
    if recipe.intensity:
        raise ValueError(
            f"noise, gamma: expected 0, got {recipe.noise:g}, {recipe.gamma:g}; use dali_cr.restoration_pipeline"
        )
    raw, records, swaps, sample = _read(samples, batch_size, threads)
    return raw, records, swaps, sample


def draw_swaps(shape: Triple, swap: Swap, *, batch_size: int, seed: int = 0) -> Node:
    """Draw swaps for data of other operators; batch k has the sample numbers from k * batch_size.

    Parameters
    ----------
    shape : (3,) int
        (D, H, W) of the data.
    swap : Swap
    batch_size : int
        Batch size of the pipeline.
    seed : int

    Returns
    -------
    swaps : (T, 3, 3) int32

    Raises
    ------
    ValueError
        If two disjoint patches do not fit, or the seed is not an unsigned 64-bit integer.
    """
    swap.check(shape)
    rng.check_seed(seed)
    stream = Stream(batch_size)
    return external(lambda k: (draw_batch(seed, stream.numbers(k), shape, swap),), 1)[0]


def decode_volume(raw: Node, records: Node, shape: Triple, dtype: str = "float32") -> Node:
    """Decode the output of `read_samples`, and resample it if the recipe has a spacing, rotation or scaling.

    Parameters
    ----------
    raw : (bytes,) uint8
    records : (C, 16) or (C, 32) int64
    shape : (3,) int
        Crop of the recipe.
    dtype : "float32" or "float16"

    Returns
    -------
    target : (C, D, H, W) of `dtype`

    Raises
    ------
    ValueError
        If the dtype is not supported.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if on_gpu(raw):
        return on_batch(partial(_decode_gpu, shape=shape, dtype=dtype), raw, records.gpu())
    return on_batch(partial(_decode_cpu, shape=shape, dtype=dtype), raw, records)


def swap_patches(data: Node, swaps: Node) -> Node:
    """Swap patches in a copy of each sample.

    Parameters
    ----------
    data : (..., D, H, W) of a real dtype
    swaps : (T, 3, 3) int32
        On the CPU. With `data` on a GPU they must be valid; not checked: a box that leaves the data traps the kernel.

    Returns
    -------
    swapped : same as `data`
    """
    if on_gpu(data):
        return on_batch(_swap_gpu, data, swaps.gpu())
    return on_batch(_swap_cpu, data, swaps)


def read_views(
    index: Index,
    recipe: Views,
    *,
    batch_size: int,
    seed: int = 0,
    threads: int | None = None,
    weights: Weights | None = None,
) -> tuple[Node, ...]:
    """Read and decompress the planned multi-view samples of an index; nothing is decoded yet.

    Parameters
    ----------
    index : Index
    recipe : Views
    batch_size : int
        Batch size of the pipeline.
    seed : int
    threads : int, optional
        Number of threads that read and decompress. Default: one per core.
    weights : mapping of str to float, optional
        Weights of the data sets; as for `dali_cr.Loader`.

    Returns
    -------
    raw : (bytes,) uint8
        Raw voxels of the box around all views, in the order of the file.
    globals, locals : (views, C, 32) int64
        Records of the global and of the local views.
    swaps : (2, T, 3, 3) int32
    intensities : (views, 8) float32
    counters : (views, 2) int64
        Inputs of `finish_views`, as are the records and swaps.
    holes : (2, N, 3, 3) int32
        The last input of `finish_views`, only with `Views.cutout`.
    sample : int64
        The sample number.
    """
    samples = MultiView(ViewPlanner(index, recipe, seed, weights))
    warn_of_masks(index, samples.names)
    return _read(samples, batch_size, threads)


def finish_views(
    raw: Node,
    globals_: Node,
    locals_: Node,
    swaps: Node,
    intensities: Node,
    counters: Node,
    recipe: Views,
    seed: int,
    holes: Node | None = None,
) -> tuple[Node, Node, Node]:
    """Make views from the outputs of `read_views`.

    Parameters
    ----------
    raw, globals_, locals_, swaps, intensities, counters
        From `read_views`; the device of `raw` is used.
    recipe : Views
    seed : int
        Recipe and seed of `read_views`.
    holes : optional
        From `read_views`, with `Views.cutout`.

    Returns
    -------
    view, target : (2, C, D, H, W) float32
    local : (locals, C, d, h, w) float32

    Raises
    ------
    ValueError
        If the seed is not an unsigned 64-bit integer, or holes are missing or without use.
    """
    rng.check_seed(seed)
    if (holes is None) == (recipe.cutout is not None):
        raise ValueError(f"holes: expected those of read_views exactly with cutout, got {recipe.cutout} and {holes}")
    names = ("raw", *MultiView.inputs, "holes")
    rest = tuple(node for node in (globals_, locals_, swaps, intensities, counters, holes) if node is not None)
    if on_gpu(raw):
        rest = tuple(node.gpu() for node in rest)
        stack: Callable[..., Any] = as_batch
        finish: Callable[..., Any] = finish_batch
    else:
        stack, finish = np.stack, finish_batch_ref

    def on_lists(*lists: list[Any]) -> tuple[list[Any], ...]:
        return tuple(map(list, finish(dict(zip(names, map(stack, lists), strict=False)), recipe=recipe, seed=seed)))

    view, target, local = on_batch(on_lists, raw, *rest, outputs=3)
    return view, target, local


def _read(samples: Samples, batch_size: int, threads: int | None) -> tuple[Node, ...]:
    """Return the batches of a `RawSource` as DALI nodes."""
    return batches_of(RawSource(samples, Stream(batch_size), threads=threads))


def _decode_gpu(raw: list[Any], records: list[Any], shape: Triple, dtype: str) -> list[Any]:
    words = as_batch(records)
    decode = gather_crops if words.shape[-1] == VIEW_WORDS else decode_batch
    return list(decode(as_batch(raw), words, shape, dtype))


def _decode_cpu(raw: list[Any], records: list[Any], shape: Triple, dtype: str) -> list[Any]:
    words = np.stack(records)
    decode = gather_crops_ref if words.shape[-1] == VIEW_WORDS else decode_volume_ref
    return list(decode(np.stack(raw), words, shape, dtype))


def _swap_gpu(data: list[Any], swaps: list[Any]) -> list[Any]:
    """Swap a batch in one launch if the samples have equal shapes, otherwise sample by sample."""
    if len({sample.shape for sample in data}) == 1:
        batch = as_batch(data).copy()
        swap_in_place(batch, as_batch(swaps))
        return list(batch)
    copies = [launch.array_module().array(sample, order="C") for sample in data]
    for sample, sample_swaps in zip(copies, swaps, strict=True):
        swap_in_place(sample, sample_swaps)
    return copies


def _swap_cpu(data: list[Any], swaps: list[Any]) -> list[Any]:
    copies = [np.array(sample, order="C") for sample in data]
    for sample, sample_swaps in zip(copies, swaps, strict=True):
        swap_in_place_ref(sample, check_swaps(sample_swaps, sample.shape))
    return copies
