"""`restoration_pipeline`: the DALI graph from files to pairs, or to views.

On a GPU: raw boxes, records and swaps are copied to it, one function decodes the batch and swaps in the copy. On a CPU
the reader's threads finish the samples: there, the same work in a CPU `python_function` would run on one core, under
the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.ops import launch
from dali_cr.pipeline.advice import warn_of_clipping, warn_of_padding
from dali_cr.pipeline.cpu import PairSource
from dali_cr.pipeline.multiview import ViewPairSource, ViewRawSource, finish_views
from dali_cr.pipeline.pairs import restore_batch
from dali_cr.pipeline.processes import Children, Setup
from dali_cr.pipeline.raw import RawSource
from dali_cr.pipeline.source import thread_count
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.sample import Planner
from dali_cr.plan.stream import Stream
from dali_cr.plan.views import ViewPlanner
from dali_cr.read.cache import Cache, open_cache, parse_cache
from dali_cr.read.gpu_cache import Arena
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views
from dali_cr.system.forks import keep_from_children

Node = Any
"""A DALI `DataNode`."""

AnySource = PairSource | RawSource | ViewPairSource


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
) -> Any:
    """Build the pipeline that gives (input, target, sample number), batch after batch, without end.

    Parameters
    ----------
    index : Index
    recipe : Restoration or Views
    batch_size : int
    device : "cuda", "cuda:N" or "cpu"
    seed : int
    threads : int, optional
        That read and inflate; as many as there are cores without it.
    prefetch : int
        Batches that DALI keeps ready.
    on_error : "raise" or "skip"
        What follows when a file cannot be read.
    cache : str or sequence of str
        Where inflated volumes are kept, the fastest first; as `Loader` takes it.

    Returns
    -------
    pipeline : nvidia.dali.Pipeline
        Outputs input and target (B, C, D, H, W), and sample (B,) int64 on the CPU. For `Views`: view and target
        (B, 2, C, D, H, W), local (B, locals, C, d, h, w), and sample.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index.
        Or there is no such GPU.
    ImportError
        If an extra is missing.

    Warns
    -----
    DataWarning
        If crops are larger than most volumes.
    """
    levels = [cache] if isinstance(cache, str) else list(cache)
    planner = make_planner(index, recipe, seed)
    warn_of_padding(index, recipe)
    warn_of_clipping(index, recipe.normalize)
    source = make_source(planner, Stream(batch_size), device, levels, threads=threads, on_error=on_error)
    return build_pipeline(source, device, prefetch=prefetch)


def make_planner(index: Index, recipe: Restoration | Views, seed: int) -> Planner:
    """Make the planner that a recipe needs."""
    return ViewPlanner(index, recipe, seed) if isinstance(recipe, Views) else CropPlanner(index, recipe, seed)


def make_source(
    planner: Planner,
    stream: Stream,
    device: str,
    levels: Sequence[str],
    cache: Cache | None = None,
    *,
    threads: int | None = None,
    processes: bool = False,
    **options: Any,
) -> AnySource:
    """Make the source for a device, reading through the cache levels described.

    Parameters
    ----------
    planner : Planner
    stream : Stream
    device : "cuda", "cuda:N" or "cpu"
    levels : sequence of str
        As `dali_cr.read.cache.parse_cache` takes them.
    cache : Cache, optional
        The host and disk levels, if they are open already.
    threads : int, optional
    processes : bool
        Have a process for each thread finish the samples; on a CPU.
    **options
        Of `Source`.

    Raises
    ------
    ValueError
        If a level is described wrongly, or is the GPU's and the device is not.
    """
    budgets = [budget for kind, _, budget in map(parse_cache, levels) if kind == "gpu"]
    on_gpu = device_number(device) is not None
    if budgets and not on_gpu:
        raise ValueError(f"cache: a 'gpu' level needs a GPU, the device is {device!r}; take 'host:...' or 'disk:...'")
    cache = cache or open_cache(levels, planner.index)
    options["threads"] = threads
    views = isinstance(planner, ViewPlanner)
    if processes:
        make = partial(_source_of_child, planner.index, planner.recipe, planner.seed, levels)
        options["filler"] = Children(thread_count(threads), Setup(make, planner.index, levels), cache)
    if not on_gpu:
        return (ViewPairSource if views else PairSource)(planner, stream, cache=cache, **options)
    arena = Arena(sum(budgets), planner.index) if budgets else None
    return (ViewRawSource if views else RawSource)(planner, stream, cache=cache, arena=arena, **options)


def _source_of_child(
    index: Index, recipe: Restoration | Views, seed: int, levels: Sequence[str], cache: Cache
) -> AnySource:
    """Make the source that a child process fills samples with."""
    return make_source(make_planner(index, recipe, seed), Stream(1), "cpu", levels, cache, threads=1)


def build_pipeline(source: AnySource, device: str, *, prefetch: int = 2, batch: Any = None) -> Any:
    """Build the graph around a source.

    Parameters
    ----------
    source : Source
        A `RawSource` for the kernels, a `PairSource` for the CPU, or their kind for views. With a `RawSource` on "cpu",
        the graph has exactly the GPU's shape, and the functions run on whatever `dali_cr.ops.launch` gives them.
    device : "cuda", "cuda:N" or "cpu"
    prefetch : int
    batch : callable, optional
        In place of `source.batch`.

    Returns
    -------
    pipeline : nvidia.dali.Pipeline
    """
    device_id = device_number(device)
    if isinstance(source, RawSource) and device_id is not None:
        _try_kernels(source, device_id)
    elif isinstance(source, RawSource) and source.arena:
        source.arena.allocate()
    dali = extras.load("nvidia.dali")
    pipeline = dali.Pipeline(source.stream.batch_size, 1, device_id, prefetch_queue_depth=prefetch)
    with pipeline:
        make = batch or source.batch
        *outputs, sample = external(make, source.arrays)
        if isinstance(source, RawSource):
            inputs = outputs if device_id is None else [node.gpu() for node in outputs]
            outputs = on_batch(_finisher(source), *inputs, outputs=len(source.names))
        pipeline.set_outputs(*outputs, sample)
    pipeline.build()
    return pipeline


def _finisher(source: RawSource) -> Callable[..., Any]:
    """Return the function that makes a batch of what the source gives."""
    if isinstance(source, ViewRawSource):
        return partial(finish_views, recipe=source.planner.recipe, seed=source.planner.seed, arena=source.arena)
    return partial(restore_batch, recipe=source.planner.recipe, arena=source.arena)


def _try_kernels(source: RawSource, device_id: int) -> None:
    """Compile and run the kernels on a blank batch: what is wrong shows now, and the first batch need not wait."""
    cupy = launch.array_module()
    found = cupy.cuda.runtime.getDeviceCount() if cupy.cuda.is_available() else 0
    if device_id >= found:
        raise ValueError(f"device: wanted 'cuda:{device_id}', there are {found} GPUs; take another one, or 'cpu'")
    with cupy.cuda.Device(device_id):
        if source.arena:
            source.arena.allocate()
        _finisher(source)(*([cupy.asarray(array[0])] for array in source.blank()[:-1]))
        cupy.cuda.get_current_stream().synchronize()


def device_number(device: str) -> int | None:
    """Return the GPU's number, or None for the CPU.

    Raises
    ------
    ValueError
        If it is neither "cpu", "cuda" nor "cuda:N".
    """
    kind, _, number = str(device).partition(":")
    if kind == "cpu" and not number:
        return None
    if kind != "cuda" or (number and not number.isdigit()):
        raise ValueError(f"device: wanted 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    return int(number or 0)


def external(batch: Callable[[int], tuple[Any, ...]], outputs: int) -> tuple[Node, ...]:
    """Return an `external_source` over a function of the batch's number; DALI calls it ahead of time."""
    fn = extras.load("nvidia.dali.fn")
    pipeline = extras.load("nvidia.dali").Pipeline.current()
    if pipeline is not None:
        keep_from_children(pipeline)
    return tuple(fn.external_source(lambda info: batch(info.iteration), num_outputs=outputs, batch_info=True))


def on_batch(function: Callable[..., Any], *inputs: Node, outputs: int = 1) -> Any:
    """Return the outputs of a function of whole batches, on the inputs' device."""
    device = "gpu" if on_gpu(inputs[0]) else "cpu"
    return extras.load("nvidia.dali.fn").python_function(
        *inputs, function=function, num_outputs=outputs, batch_processing=True, device=device
    )


def on_gpu(node: Node) -> bool:
    """Whether a node's data lie on the GPU."""
    return str(node.device) == "gpu"
