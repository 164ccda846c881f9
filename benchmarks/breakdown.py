"""Breakdown of the wall time of a batch into stages, with the volumes in a cache.

::

    python -m benchmarks.loader --breakdown --device cpu
    python -m benchmarks.loader --breakdown --device emulated --no-kernels
    python -m benchmarks.loader --breakdown --device cuda --quick

"emulated" runs the GPU's graph on a CPU: threads that write raw boxes and records, DALI's copies, one function for the
batch. Its kernels are the CUDA sources compiled for the host, which is slow. With --no-kernels they do nothing, so that
the host's work for a GPU is measured; outputs are then cut to one voxel each, since DALI copies the outputs of a CPU
function under the interpreter's lock, but those of a GPU on the device.

Stages are timed by wrappers, see `benchmarks.measure.breakdown`. A stage that waits has more wall time than CPU time.
The wall and CPU time of a whole batch (all threads) are from repeats without timers, which alternate with timed
repeats.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.measure.breakdown import STAGES, Timers, add_up, installed, interpreter_probe, lateness
from benchmarks.measure.machine import cores
from benchmarks.measure.options import make_parser
from benchmarks.measure.results import new_result, result_path, summarize, write_result
from benchmarks.measure.worker import synchronize
from benchmarks.workloads import volumes
from benchmarks.workloads.workload import WORKLOADS, Workload
from dali_cr import extras
from dali_cr.index.cases import Index
from dali_cr.ops.gpu import launch
from dali_cr.pipeline import graph

_WARM = 8
"""Untimed warm-up batches after the cache is full; more than are prefetched."""

_LEAST = 3
"""Minimum number of batches of a repeat."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("python -m benchmarks.loader --breakdown", __doc__)
    what = parser.add_argument_group("what to measure")
    what.add_argument("--device", choices=("cpu", "emulated", "cuda"), default="cpu", help="device of the pairs")
    what.add_argument("--no-kernels", action="store_true", help="with --device emulated: kernels do nothing")
    what.add_argument("--crops", type=int, nargs="+", default=[64, 128], help="edges of the crops in voxels")
    what.add_argument("--batches", type=int, nargs="+", default=[8, 64], help="batch sizes")
    what.add_argument(
        "--cache", choices=("none", "host", "gpu"), help="cache; default: host with --device cpu, else gpu"
    )
    what.add_argument("--threads", type=int, default=cores(), help="threads of the loader")
    data = parser.add_argument_group("data")
    data.add_argument("--volumes", type=int, default=4, help="number of synthetic volumes of 155×240×240")
    data.add_argument("--folder", type=Path, default=volumes.FOLDER, help="folder of the synthetic volumes")
    limits = parser.add_argument_group("duration and output")
    limits.add_argument("--repeats", type=int, default=5, help="repeats with timers, and as many without")
    limits.add_argument("--count", type=int, default=30, help="batches of a repeat")
    limits.add_argument(
        "--seconds", type=float, default=60.0, help="time limit of a row's repeats; each has at least 3 batches"
    )
    limits.add_argument("--quick", action="store_true", help="at most 3 repeats and 3 s per row")
    limits.add_argument("--out", type=Path, help="file of the result; default: in benchmarks/results")
    options = parser.parse_args(arguments)
    options.cache = options.cache or ("host" if options.device == "cpu" else "gpu")
    if options.cache == "gpu" and options.device == "cpu":
        parser.error("--cache: expected none or host with --device cpu, got gpu; use --device emulated")
    if options.quick:
        options.repeats, options.seconds = min(options.repeats, 3), min(options.seconds, 3.0)
    return options


@contextmanager
def emulated_kernels(kernels: bool) -> Iterator[None]:
    """Replace CuPy by NumPy, and kernels by host builds of their sources or by functions that do nothing."""
    if kernels:
        host = importlib.import_module("tests.cuda_on_cpu.host").HostCuda()
        with mock.patch.multiple(launch, array_module=lambda: host.arrays, kernel=host.kernel):
            yield
        return
    with (
        mock.patch.multiple(launch, array_module=lambda: np, kernel=lambda *_, **__: lambda *_: None),
        mock.patch.object(graph, "on_batch", partial(_on_batch_cut, graph.on_batch)),
    ):
        yield


def _on_batch_cut(on_batch: Callable[..., Any], function: Callable[..., Any], *inputs: Any, outputs: int) -> Any:
    """Call `on_batch` with a function whose outputs are cut to the first voxel of each image."""

    def cut(*lists: Any) -> Any:
        return tuple([np.ascontiguousarray(array[..., :1, :1, :1]) for array in arrays] for arrays in function(*lists))

    return on_batch(cut, *inputs, outputs=outputs)


@contextmanager
def opened(index: Index, workload: Workload, options: argparse.Namespace) -> Iterator[Iterator[Any]]:
    """Context with an endless iterator over batches of one shape."""
    voxels = sum(volume.geometry.data_bytes for case in index.cases for volume in case.volumes)
    levels = [] if options.cache == "none" else [f"{options.cache}:{max(1, round(2 * voxels / 1e9))}GB"]
    if options.device == "emulated":
        with emulated_graph(index, workload, levels, options.threads) as batches:
            yield batches
        return
    import dali_cr

    with dali_cr.Loader(
        index,
        workload.recipe,
        batch_size=workload.batch_size,
        device=options.device,
        seed=0,
        threads=options.threads,
        cache=levels,
    ) as loader:
        yield loader.stream()


@contextmanager
def emulated_graph(index: Index, workload: Workload, levels: list[str], threads: int) -> Iterator[Iterator[Any]]:
    """Context with the batches of the GPU's graph, run on a CPU in the caller's thread."""
    from dali_cr.pipeline.graph import build_loader_pipeline
    from dali_cr.pipeline.recipes import make_samples
    from dali_cr.pipeline.sources.raw import RawSource
    from dali_cr.plan.stream import Stream
    from dali_cr.read.cache import open_cache, parse_cache
    from dali_cr.read.gpu_cache import Arena

    torch = extras.load("torch")
    budgets = [budget for kind, _, budget in map(parse_cache, levels) if kind == "gpu"]
    arena = Arena(sum(budgets), index) if budgets else None
    samples, stream = make_samples(index, workload.recipe, 0), Stream(workload.batch_size)
    cache = open_cache(levels, index)
    source = RawSource(samples, stream, arena=arena, whole=True, cache=cache, threads=threads)
    try:
        pipeline = build_loader_pipeline(source, "cpu", 2, source.batch)

        def batches() -> Iterator[Any]:
            while True:
                yield [torch.from_dlpack(array.as_tensor())[0] for array in pipeline.run()]

        yield batches()
    finally:
        source.close()
        cache.close()


def repeat(batches: Iterator[Any], options: argparse.Namespace, seconds: float) -> dict[str, float]:
    """Consume batches; return their number, and the wall and CPU seconds per batch."""
    device = options.device if options.device == "cuda" else "cpu"
    synchronize(device)
    cpu, start = time.process_time(), time.perf_counter()
    for count in itertools.count(1):
        next(batches)
        if count >= options.count or (count >= _LEAST and time.perf_counter() - start > seconds):
            break
    synchronize(device)
    wall = time.perf_counter() - start
    return {"batches": count, "wall_s": wall / count, "cpu_s": (time.process_time() - cpu) / count}


def measure(index: Index, workload: Workload, options: argparse.Namespace, timers: Timers) -> dict[str, Any]:
    """Return one row: the times of a batch without timers, with timers, and by stage."""
    share = options.seconds / (2 * options.repeats + 1)
    bare, timed, stages = [], [], []
    with opened(index, workload, options) as batches:
        for _ in range(-(-len(index) // workload.batch_size) + _WARM):
            next(batches)
        for _ in range(options.repeats):
            bare.append(repeat(batches, options, share))
            timers.take()
            timers.on = True
            timed.append(repeat(batches, options, share))
            timers.on = False
            stages.append(add_up(timers.take(), int(timed[-1]["batches"])))
        with interpreter_probe() as late:
            probed = repeat(batches, options, share)
        batches.close()  # type: ignore[attr-defined]
    with interpreter_probe() as idle:
        time.sleep(0.1)
    return {
        "device": options.device,
        "crop": workload.crop,
        "batch_size": workload.batch_size,
        "cache": options.cache,
        "kernels": options.device != "emulated" or not options.no_kernels,
        "bare": over_repeats(bare),
        "timed": over_repeats(timed),
        "stages": {name: over_stages(name, stages, timers) for name in STAGES},
        "interpreter": {"late": lateness(late), "idle": lateness(idle), "wall_s": probed["wall_s"]},
    }


def over_repeats(found: list[dict[str, float]]) -> dict[str, Any]:
    """Return the median and percentiles of each number over the repeats."""
    return {name: summarize([one[name] for one in found]) for name in found[0]}


def over_stages(name: str, found: list[dict[str, dict[str, float]]], timers: Timers) -> dict[str, Any]:
    """Return the numbers of a stage over the repeats, or the reason why there are none."""
    if name in timers.absent:
        return {"absent": timers.absent[name]}
    own = [one[name] for one in found if name in one]
    return over_repeats(own) if len(own) == len(found) else {"absent": "not called"}


def table(row: dict[str, Any]) -> str:
    """Format a row as text."""
    edge, bare, timed = row["crop"][0], row["bare"], row["timed"]
    what = f"{row['device']}{'' if row['kernels'] else ', no kernels'}, {row['cache']} cache"
    lines = [
        f"{edge}^3, B {row['batch_size']}, {what}: {_ms(bare['wall_s'])} ms wall, {_ms(bare['cpu_s'])} ms CPU a batch"
    ]
    lines.append(
        f"  {'with timers':<16}{timed['wall_s']['median'] * 1e3:9.3f} ms wall {timed['cpu_s']['median'] * 1e3:9.3f} CPU"
    )
    for name, stage in row["stages"].items():
        if "absent" in stage:
            lines.append(f"  {name:<16}{'absent':>9}: {stage['absent']}")
            continue
        wall, cpu = stage["wall_s"], stage["cpu_s"]["median"]
        numbers = f"{wall['median'] * 1e3:9.3f} ms wall {cpu * 1e3:9.3f} CPU"
        waits = f"{max(0.0, wall['median'] - cpu) * 1e3:9.3f} waiting"
        calls = f"{stage['calls']['median']:6.1f} calls, {stage['threads']['median']:.0f} threads"
        lines.append(f"  {name:<16}{numbers} {waits} {calls}  ({_spread(wall)})")
    late, idle = row["interpreter"]["late"], row["interpreter"]["idle"]
    lines.append(
        f"  a thread waits {late['mean_s'] * 1e3:.3f} ms for the interpreter (median {late['median_s'] * 1e3:.3f}, "
        f"95 % {late['p95_s'] * 1e3:.3f}; idle {idle['mean_s'] * 1e3:.3f})"
    )
    return "\n".join(lines)


def _ms(summary: dict[str, float]) -> str:
    return f"{summary['median'] * 1e3:.3f} ({_spread(summary)})"


def _spread(summary: dict[str, float]) -> str:
    return f"{summary['p20'] * 1e3:.3f} to {summary['p80'] * 1e3:.3f}"


def command_of(options: argparse.Namespace) -> str:
    """Return the command that repeats this measurement."""
    words = ["python -m benchmarks.loader --breakdown", f"--device {options.device}", f"--cache {options.cache}"]
    words += [f"--{name} {' '.join(map(str, getattr(options, name)))}" for name in ("crops", "batches")]
    words += [f"--{name} {getattr(options, name):g}" for name in ("threads", "volumes", "repeats", "count", "seconds")]
    return " ".join([*words, *(["--no-kernels"] if options.no_kernels else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    options = parse(arguments)
    workload = dataclasses.replace(WORKLOADS["a"], crop=(max(options.crops),) * 3)
    index = volumes.find_volumes(workload, options.volumes, None, options.folder)
    names = ("device", "crops", "batches", "cache", "no_kernels", "threads", "volumes", "repeats", "count", "seconds")
    settings = {name: getattr(options, name) for name in names}
    device = "cuda" if options.device == "cuda" else "cpu"
    result = new_result("breakdown", device, command_of(options), settings)
    result |= {"data": volumes.describe(index, None), "stages": {n: s.about for n, s in STAGES.items()}, "rows": []}
    path = options.out or result_path(result, options.device)
    kernels = emulated_kernels(not options.no_kernels) if options.device == "emulated" else nullcontext()
    with kernels, installed() as timers:
        for edge, size in itertools.product(options.crops, options.batches):
            one = dataclasses.replace(workload, crop=(edge, edge, edge), batch_size=size)
            result["rows"].append(measure(index, one, options, timers))
            print(table(result["rows"][-1]), flush=True)
            write_result(result, path)
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
