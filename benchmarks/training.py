"""Benchmark of training steps fed by the loader, compared with steps on one batch that is kept.

::

    python -m benchmarks.training --device cuda
    python -m benchmarks.training --device cuda --workload v --packed
    python -m benchmarks.training --compile off on --layout contiguous channels-last
    python -m benchmarks.training --emulate
    python -m benchmarks.training --emulate 5 20 80 --workload d

Without --emulate: steps per second of the trainer's own step, alternately fed by the loader and by one batch that is
kept. Their ratio shows the cost of the data path; on a CPU, where the network and the loader share the cores, it is not
meaningful. On a GPU there are four rows: eager and compiled, each with contiguous and channels-last tensors.

Workload v is trained by PCRLv2, the others by context restoration, e on 2-D images. With --packed the loader reads
packed volumes.

With --emulate: an accelerator that needs a fixed time per step and no CPU. For the path without a cache and for each
cache, the result has its utilisation at the given step times (ms) and at 1.3 times the decoder's time per batch, and
the shortest step time with a utilisation of at least 0.98.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.emulation import PATHS, emulate
from benchmarks.measure.machine import cores
from benchmarks.measure.options import make_parser
from benchmarks.measure.page_cache import read_once
from benchmarks.measure.results import new_result, result_path, summarize, write_result
from benchmarks.measure.worker import synchronize
from benchmarks.workloads import volumes
from benchmarks.workloads.copies import find_copies
from benchmarks.workloads.workload import WORKLOADS, Workload
from dali_cr.index.cases import Index

LAYOUTS = ("contiguous", "channels-last")

_WARM = 5
"""Steps after which PCRLv2 has used all levels, so that all are compiled."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("python -m benchmarks.training", __doc__)
    data = parser.add_argument_group("data")
    data.add_argument("--workload", choices=sorted(WORKLOADS), default="d", help="workload")
    data.add_argument("--data", type=Path, help="folder of volumes; default: synthetic volumes")
    data.add_argument("--volumes", type=int, help="number of volumes; default: 16, for c 4")
    data.add_argument("--packed", action="store_true", help="train on packed volumes")
    data.add_argument("--folder", type=Path, default=volumes.FOLDER, help="folder of the synthetic volumes")
    step = parser.add_argument_group("training step")
    step.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device to train on")
    step.add_argument("--threads", type=int, help="threads of the loader; default: one per core")
    step.add_argument("--batch", type=int, help="batch size; default: that of the workload")
    step.add_argument("--filters", type=int, help="channels of the first level; default: that of the trainer")
    step.add_argument("--compile", nargs="+", choices=("off", "on"), help="torch.compile; default: off, on a GPU both")
    step.add_argument("--layout", nargs="+", choices=LAYOUTS, help="memory format; default: contiguous, on a GPU both")
    step.add_argument("--seed", type=int, default=0, help="seed of weights and samples")
    accelerator = parser.add_argument_group("emulated accelerator")
    accelerator.add_argument(
        "--emulate", type=float, nargs="*", metavar="MS", help="emulate an accelerator; further step times to measure"
    )
    accelerator.add_argument(
        "--paths", nargs="+", choices=PATHS, default=list(PATHS), help="with --emulate: paths of the loader to measure"
    )
    limits = parser.add_argument_group("duration and output")
    limits.add_argument("--repeats", type=int, default=3, help="repeats of each measurement")
    limits.add_argument("--seconds", type=float, default=3.0, help="minimum duration of each measurement")
    limits.add_argument("--out", type=Path, help="file of the result; default: in benchmarks/results")
    options = parser.parse_args(arguments)
    if options.packed and (options.emulate is not None or WORKLOADS[options.workload].files != "nifti"):
        parser.error("--packed: expected a workload of volumes and no --emulate, which has --paths ours-packed")
    options.volumes = options.volumes or WORKLOADS[options.workload].volumes
    options.threads = options.threads or cores()
    options.compile = options.compile or (["off", "on"] if options.device == "cuda" else ["off"])
    options.layout = options.layout or (list(LAYOUTS) if options.device == "cuda" else ["contiguous"])
    return options


def train(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the steps per second of each computation, with the loader and with one kept batch."""
    rows = []
    for compile, layout in itertools.product(options.compile, options.layout):
        own = scratch / f"{compile}-{layout}"
        own.mkdir()
        config = config_of(workload, index, options, own, compile=compile, memory_format=layout)
        row = {"compiled": compile == "on", "layout": layout, **time_steps(config, options)}
        rows.append(row)
        print(describe_row(row), flush=True)
    return {"batch_size": options.batch or workload.batch_size, "threads": options.threads, "rows": rows}


def time_steps(config: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Return the steps per second of one computation, or the reason why it cannot run."""
    import torch

    from train.pretrain import prepare
    from train.run.step import take_step

    run, cuda = prepare(config), options.device == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    numbers = itertools.count(1)

    def steps_per_s(batches: Iterator[dict[str, Any]]) -> float:
        take_step(run, next(numbers), batches)
        synchronize(options.device)
        start = time.perf_counter()
        for done in itertools.count(1):
            losses = take_step(run, next(numbers), batches).losses
            # The host runs ahead of a GPU: synchronise now and then, as the trainer does.
            if done % config.log_every == 0 or time.perf_counter() - start >= options.seconds:
                losses["loss"].item()
                if done > 1 and time.perf_counter() - start >= options.seconds:
                    return done / (time.perf_counter() - start)
        raise AssertionError("unreachable")

    with run.loader:
        batches = run.loader.stream()
        kept = {name: value.clone() for name, value in next(batches).items() if name != "case"}
        start = time.perf_counter()
        if missing := find_failure(run, kept):
            return {"missing": missing}
        synchronize(options.device)
        first = time.perf_counter() - start
        timings: dict[str, list[float]] = {"loader": [], "kept": []}
        for _ in range(options.repeats):
            timings["loader"].append(steps_per_s(batches))
            timings["kept"].append(steps_per_s(itertools.repeat(kept)))
    ratios = [a / b for a, b in zip(timings["loader"], timings["kept"], strict=True)]
    return {
        "parameters": run.method.network.parameters,
        "first_steps_s": first,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "steps_per_s": timings,
        "ratios": ratios,
        "summary": {**{name: summarize(values) for name, values in timings.items()}, "ratio": summarize(ratios)},
    }


def find_failure(run: Any, batch: dict[str, Any]) -> str:
    """Run a few steps, which compiles the network; return the reason if it cannot be compiled, or "".

    The trainer would continue eagerly, and an eager rate would be reported as a compiled one.
    """
    from torch._dynamo.exc import TorchDynamoException

    from train.run.computation import reason

    try:
        for step in range(1, 1 + (_WARM if run.computation.compiled else 1)):
            run.losses(step, batch)["loss"].backward()
    except TorchDynamoException as error:
        return reason(error)
    return ""


def describe_row(row: dict[str, Any]) -> str:
    """Format the row of a computation as a line of text."""
    name = f"{'compiled' if row['compiled'] else 'eager'}, {row['layout']}:"
    if "missing" in row:
        return f"{name} missing, {row['missing']}"
    middle = {name: values["median"] for name, values in row["summary"].items()}
    rates = "steps/s {loader:.3f} with the loader, {kept:.3f} with one batch, ratio {ratio:.3f}".format(**middle)
    peak = f", peak {row['peak_memory_bytes'] / 2**30:.2f} GiB" if row["peak_memory_bytes"] else ""
    return f"{name} {rates}; first steps {row['first_steps_s']:.1f} s{peak}"


def config_of(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path, **computation: str) -> Any:
    """Return the trainer's configuration for a workload."""
    from train.methods.pcrlv2.config import Pcrlv2Config
    from train.methods.restoration import RestorationConfig

    path = scratch / "index.json"
    index.save(path)
    edges = [edge if isinstance(edge, tuple) else (edge, edge) for edge in workload.patch]
    settings: dict[str, Any] = {
        "index": path,
        "out": scratch / "run",
        "crop": workload.crop,
        "iterations": workload.iterations,
        "patch": tuple(itertools.chain.from_iterable(edges)),
        "normalize": workload.normalize,
        "held_out": 1 / max(len(index), 2),
        "batch_size": options.batch or workload.batch_size,
        "filters": options.filters,
        # The schedule needs a last step, which is never reached.
        "steps": 10**9,
        "device": options.device,
        "threads": options.threads,
        "seed": options.seed,
        **computation,
    }
    if workload.samples == "views":
        return Pcrlv2Config(**settings)
    return RestorationConfig(**settings, dims=2 if workload.crop[0] == 1 else 3, flips=(), foreground=0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    options = parse(arguments)
    kind = "training" if options.emulate is None else "emulation"
    workload = WORKLOADS[options.workload]
    workload = dataclasses.replace(workload, batch_size=options.batch or workload.batch_size)
    index = volumes.find_volumes(workload, options.volumes, options.data, options.folder)
    described = volumes.describe(index, options.data)
    index = find_copies("packed", index, workload, options.folder) if options.packed else index
    read_once(volumes.files_of(index))
    with tempfile.TemporaryDirectory(dir=options.folder.parent if options.folder.parent.is_dir() else None) as scratch:
        (Path(scratch) / "limit").mkdir()
        found = (train if kind == "training" else emulate)(workload, index, options, Path(scratch))
    names = ["workload", "volumes", "device", "emulate", "paths", "threads", "filters", "repeats", "seconds", "seed"]
    names += ["packed", "compile", "layout"] if kind == "training" else []
    settings = {name: getattr(options, name) for name in names}
    result = new_result(kind, options.device, command_of(options), settings)
    result |= {"workload": workload.to_json(), "data": described, **found}
    path = options.out or result_path(result, options.workload)
    write_result(result, path)
    print(f"written to {path}")
    return 0


def command_of(options: argparse.Namespace) -> str:
    """Return the command that repeats this measurement."""
    words = ["python -m benchmarks.training"]
    names = ["workload", "volumes", "device", "threads", *(["filters"] if options.filters else [])]
    words += [f"--{n} {getattr(options, n)}" for n in names]
    words += [f"--{n} {getattr(options, n):g}" for n in ("repeats", "seconds", "seed")]
    if options.emulate is None:
        words += [f"--{name} {' '.join(getattr(options, name))}" for name in ("compile", "layout")]
    words += ["--packed"] if options.packed else []
    words += ["--data DIR"] if options.data else []
    words += [" ".join(["--emulate", *(f"{ms:g}" for ms in options.emulate)])] if options.emulate is not None else []
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
