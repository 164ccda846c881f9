"""`restoration_pipeline`: build the DALI graph from files to pairs or views.

On a GPU, raw boxes, records and swaps are copied to the device, where one function decodes the batch and swaps patches.
On a CPU, the reader threads finish the samples, because a CPU `python_function` would run on one core under the GIL.

Inside a `Loader`, a batch is one DALI sample, and on a GPU one buffer, so that Python and DLPack handle one array
instead of one per sample and input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.ops.gpu import launch
from dali_cr.ops.gpu.arrays import as_batch
from dali_cr.pipeline.advice import warn_of_samples
from dali_cr.pipeline.recipes import AnySource, device_number, make_samples, make_source
from dali_cr.pipeline.samples import Arrays
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.pipeline.sources.raw import RawSource
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.stream import Stream
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views
from dali_cr.system.forks import keep_from_children

Node = Any
"""A DALI `DataNode`."""


def restoration_pipeline(
    index: Index,
    recipe: Restoration | Views,
    batch_size: int,
    device: str = "cuda",
    seed: int = 0,
    *,
    threads: int | None = None,
    prefetch: int = 2,
    on_error: str = "raise",
    cache: str | Sequence[str] = (),
    weights: Weights | None = None,
) -> Any:
    """Build an endless pipeline with the outputs (input, target, sample number).

    Parameters
    ----------
    index : Index
    recipe : Restoration or Views
    batch_size : int
    device : "cuda", "cuda:N" or "cpu"
    seed : int
    threads : int, optional
        Number of threads that read and decompress. Default: one per core.
    prefetch : int
        Number of batches that DALI prefetches.
    on_error : "raise" or "skip"
        What to do if a file cannot be read.
    cache : str or sequence of str
        Cache levels for decompressed volumes, the fastest first; as for `Loader`.
    weights : mapping of str to float, optional
        Weights of the data sets; as for `Loader`.

    Returns
    -------
    pipeline : nvidia.dali.Pipeline
        Outputs input and target (B, C, D, H, W), for masked samples mask (B, 1, D, H, W) uint8, with anonymisation
        masks valid (B, 1, D, H, W) uint8, and sample (B,) int64 on the CPU. For `Views`: view and target (B, 2, C, D,
        H, W), local (B, locals, C, d, h, w), and sample.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or the GPU does not exist.
    ImportError
        If an extra is missing.

    Warns
    -----
    DataWarning
        If crops are larger than most volumes, a window clips most of the foreground, or a mask has few blocks.
    """
    levels = [cache] if isinstance(cache, str) else list(cache)
    samples = make_samples(index, recipe, seed, weights)
    warn_of_samples(index, samples)
    source = make_source(samples, Stream(batch_size), device, levels, threads=threads, on_error=on_error)
    return build_pipeline(source, device, prefetch=prefetch)


def build_pipeline(source: AnySource, device: str, *, prefetch: int = 2) -> Any:
    """Build the graph with one DALI sample per sample, and the sample numbers as the last output.

    Parameters
    ----------
    source : Source
        A `RawSource` for the kernels, or a `FinishedSource`. A `RawSource` on "cpu" has the same graph as on a GPU, for
        tests that substitute the array module of `dali_cr.ops.gpu.launch`.
    device : "cuda", "cuda:N" or "cpu"
    prefetch : int

    Returns
    -------
    pipeline : nvidia.dali.Pipeline
    """
    pipeline = _pipeline(source, device, source.stream.batch_size, prefetch)
    with pipeline:
        *outputs, sample = batches_of(source)
        if isinstance(source, RawSource):
            made, count = source.make, len(source.samples.names)
            inputs = outputs if device_number(device) is None else [node.gpu() for node in outputs]
            outputs = on_batch(lambda *lists: tuple(map(list, made(*map(as_batch, lists)))), *inputs, outputs=count)
        pipeline.set_outputs(*outputs, sample)
    pipeline.build()
    return pipeline


def build_loader_pipeline(source: AnySource, device: str, prefetch: int, batch: Callable[[int], Arrays]) -> Any:
    """Build the graph of a `Loader`, with one DALI sample per batch.

    Parameters
    ----------
    source : Source
        A `FinishedSource`, or a `RawSource` with `whole`.
    device : "cuda", "cuda:N" or "cpu"
    prefetch : int
    batch : callable
        Returns the arrays of batch k, from `source.batch` or a placeholder.

    Returns
    -------
    pipeline : nvidia.dali.Pipeline
        Outputs are named as in `source.samples.names`, each (1, B, ...).
    """
    pipeline = _pipeline(source, device, 1, prefetch)
    locked = device_number(device) is not None
    names = source.samples.names if isinstance(source, FinishedSource) else source.names
    with pipeline:
        # No copy, because DALI copies under the GIL; the arrays are not reused before DALI has read them.
        outputs = external(lambda k: _as_samples(batch(k), names, locked), len(names), no_copy=True)
        if isinstance(source, RawSource):
            made, count = source.make, len(source.samples.names)
            inputs = [node.gpu() for node in outputs] if locked else outputs
            outputs = on_batch(
                lambda *lists: tuple([array] for array in made(*(one[0] for one in lists))), *inputs, outputs=count
            )
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _as_samples(arrays: Arrays, names: Sequence[str], locked: bool) -> tuple[Any, ...]:
    """Return arrays as batches of one sample; page-locked arrays are marked, so that DALI does not copy them."""
    if not locked:
        return tuple([arrays[name]] for name in names)
    tensor = extras.load("nvidia.dali.tensors").TensorCPU
    return tuple([tensor(arrays[name], "", True)] for name in names)


def _pipeline(source: AnySource, device: str, batch_size: int, prefetch: int) -> Any:
    """Run the kernels once, and return an empty pipeline."""
    number = device_number(device)
    if isinstance(source, RawSource) and number is not None:
        _try_kernels(source, number)
    elif isinstance(source, RawSource) and source.arena:
        source.arena.allocate()
    return extras.load("nvidia.dali").Pipeline(batch_size, 1, number, prefetch_queue_depth=prefetch)


def _try_kernels(source: RawSource, device_id: int) -> None:
    """Compile and run the kernels on a placeholder, to raise errors early and to warm up."""
    cupy = launch.array_module()
    found = cupy.cuda.runtime.getDeviceCount() if cupy.cuda.is_available() else 0
    if device_id >= found:
        raise ValueError(f"device: expected one of {found} GPUs, got 'cuda:{device_id}'; use another GPU or 'cpu'")
    with cupy.cuda.Device(device_id):
        if source.arena:
            source.arena.allocate()
        arrays = source.placeholder()
        source.make(*(cupy.asarray(arrays[name]) for name in source.names if name != "sample"))
        cupy.cuda.get_current_stream().synchronize()


def external(batch: Callable[[int], tuple[Any, ...]], outputs: int, *, no_copy: bool = False) -> tuple[Node, ...]:
    """Return an `external_source` that calls a function of the batch number, ahead of time."""
    fn = extras.load("nvidia.dali.fn")
    pipeline = extras.load("nvidia.dali").Pipeline.current()
    if pipeline is not None:
        keep_from_children(pipeline)
    return tuple(
        fn.external_source(lambda info: batch(info.iteration), num_outputs=outputs, batch_info=True, no_copy=no_copy)
    )


def batches_of(source: AnySource) -> tuple[Node, ...]:
    """Return the arrays of a source as DALI nodes, named as in `source.names`; DALI copies them."""

    def batch(k: int) -> tuple[Any, ...]:
        arrays = source.batch(k)
        return tuple(arrays[name] for name in source.names)

    return external(batch, len(source.names))


def on_batch(function: Callable[..., Any], *inputs: Node, outputs: int = 1) -> Any:
    """Apply a function to whole batches on the device of the inputs."""
    device = "gpu" if on_gpu(inputs[0]) else "cpu"
    return extras.load("nvidia.dali.fn").python_function(
        *inputs, function=function, num_outputs=outputs, batch_processing=True, device=device
    )


def on_gpu(node: Node) -> bool:
    """Whether the data of a node are on the GPU."""
    return str(node.device) == "gpu"
