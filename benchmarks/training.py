"""Whether training waits for its data.

::

    python -m benchmarks.training --device cuda
    python -m benchmarks.training --emulate
    python -m benchmarks.training --emulate 5 20 80 --workload d

Without --emulate: steps a second of the real trainer's step, fed by the loader and fed one batch that is kept, in
turns; their ratio is what the data path costs. On a CPU the network and the loader share the cores, so the ratio says
little there.

With --emulate: an accelerator that needs a fixed time a step and no CPU for it. For the cold path and for each cache,
its utilisation at the step times given (ms) and at 1.3 times the limit's time a batch, and the shortest step time at
which it is at least 0.98.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders.feed import Job
from benchmarks.contenders.roster import ROSTER
from benchmarks.measure.accelerator import shortest_step, utilisation
from benchmarks.measure.machine import cores
from benchmarks.measure.process import run
from benchmarks.measure.results import new_result, result_path, summarize, write_result
from benchmarks.measure.worker import synchronize
from benchmarks.workloads import volumes
from benchmarks.workloads.workload import WORKLOADS, Workload
from dali_cr.index.cases import Index

PATHS = ("ours-loader", "ours-host", "ours-disk", "ours-gpu")
"""The loader cold, and with each of its caches."""

_MARGIN = 1.3
"""The cold path is asked for 0.98 at this many times the limit's time a batch."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", choices=[w.name for w in WORKLOADS.values() if w.samples == "pairs"], default="d")
    parser.add_argument("--data", type=Path, help="a folder of volumes; synthetic ones are made without it")
    parser.add_argument("--volumes", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=volumes.FOLDER, help="where synthetic volumes are kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--emulate", type=float, nargs="*", metavar="MS", help="emulate a GPU; step times to measure")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS), help="to emulate a GPU behind")
    parser.add_argument("--threads", type=int, help="of the loader; one a core without it")
    parser.add_argument("--batch", type=int, help="the workload's without it")
    parser.add_argument("--filters", type=int, default=16, help="of the network's first level")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the result's file")
    options = parser.parse_args(arguments)
    options.threads = options.threads or cores()
    return options


def train(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return steps a second of the trainer's own step, with the loader and with one kept batch."""
    from train.pretrain import prepare
    from train.run.loop import take_step

    trained = prepare(config_of(workload, index, options, scratch))
    numbers = itertools.count(1)

    def steps_per_s(batches: Iterator[dict[str, Any]]) -> float:
        take_step(trained, next(numbers), next(batches))
        synchronize(options.device)
        start = time.perf_counter()
        for done in itertools.count(1):
            losses = take_step(trained, next(numbers), next(batches))
            # The host runs ahead of a GPU: as the trainer does, wait now and then.
            if done % trained.config.log_every == 0 or time.perf_counter() - start >= options.seconds:
                losses["loss"].item()
                if done > 1 and time.perf_counter() - start >= options.seconds:
                    return done / (time.perf_counter() - start)
        raise AssertionError("count() ends never")

    with trained.loader:
        batches = trained.loader.stream()
        kept = {name: value.clone() for name, value in next(batches).items() if name != "case"}
        timings: dict[str, list[float]] = {"loader": [], "kept": []}
        for _ in range(options.repeats):
            timings["loader"].append(steps_per_s(batches))
            timings["kept"].append(steps_per_s(itertools.repeat(kept)))
    ratios = [a / b for a, b in zip(timings["loader"], timings["kept"], strict=True)]
    return {
        "parameters": trained.method.network.parameters,
        "batch_size": trained.config.batch_size,
        "threads": options.threads,
        "steps_per_s": timings,
        "ratios": ratios,
        "summary": {**{name: summarize(values) for name, values in timings.items()}, "ratio": summarize(ratios)},
    }


def config_of(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path) -> Any:
    """Return the trainer's configuration for a workload."""
    from train.methods.restoration import RestorationConfig

    path = scratch / "index.json"
    index.save(path)
    return RestorationConfig(
        index=path,
        out=scratch / "run",
        crop=workload.crop,
        iterations=workload.iterations,
        patch=workload.patch,
        flips=(),
        normalize=workload.normalize,  # type: ignore[arg-type]
        foreground=0.0,
        held_out=1 / max(len(index), 2),
        batch_size=options.batch or workload.batch_size,
        filters=options.filters,
        # More than are ever taken: the learning rate needs an end.
        steps=10**9,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
    )


def emulate(workload: Workload, index: Index, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return, for each path, how busy an emulated accelerator is."""
    index.save(scratch / "index.json")
    usable = tuple(sorted(os.sched_getaffinity(0)))
    job = Job(
        contender="igzip-needed",
        workload=workload,
        index=scratch / "index.json",
        workers=options.threads,
        cores=usable,
        seconds=options.seconds,
        device="cpu",
        seed=options.seed,
        scratch=scratch / "limit",
    )
    limits = {}
    for name in ("igzip", "igzip-needed"):
        volumes.read_once(volumes.files_of(index))
        limits[name] = run(dataclasses.replace(job, contender=name))["pairs_per_s"]
        print(f"{ROSTER[name].label}: {limits[name]:.1f} files/s", flush=True)
    asked = {f"{ms:g} ms": ms / 1000 for ms in options.emulate}
    for name, rate in limits.items():
        asked[f"{_MARGIN} x batch / {name}"] = _MARGIN * workload.batch_size / rate
    rows = [emulate_path(name, job, asked, options, scratch) for name in options.paths]
    return {"batch_size": workload.batch_size, "threads": options.threads, "limits_per_s": limits, "rows": rows}


def emulate_path(
    name: str, job: Job, asked: dict[str, float], options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """Return how busy an emulated accelerator is behind one path of the loader."""
    contender = ROSTER[name]
    row: dict[str, Any] = {"path": name, "label": contender.label}
    if reason := contender.missing(options.device):
        print(f"{contender.label}: missing, {reason}")
        return {**row, "missing": reason}
    print(contender.label, flush=True)
    own = scratch / name
    own.mkdir()
    feed = contender.open(dataclasses.replace(job, contender=name, device=options.device, scratch=own))
    try:
        batches = feed.batches()
        for _ in range(-(-len(feed.index) // feed.workload.batch_size) + 1 if feed.fills_cache else 1):
            next(batches)
        at = {}
        for what, step in asked.items():
            at[what] = {"step_s": step, "utilisation": utilisation(batches, step, options.seconds)}
            print(f"  at {what} = {1000 * step:.2f} ms: {at[what]['utilisation']:.3f}", flush=True)
        found = shortest_step(batches, options.seconds, lambda line: print(f"  {line}", flush=True))
        return {**row, "at": at, **found, "report": feed.report()}
    finally:
        feed.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command."""
    options = parse(arguments)
    kind = "training" if options.emulate is None else "emulation"
    workload = WORKLOADS[options.workload]
    workload = dataclasses.replace(workload, batch_size=options.batch or workload.batch_size)
    index = volumes.find_volumes(workload, options.volumes, options.data, options.folder)
    volumes.read_once(volumes.files_of(index))
    with tempfile.TemporaryDirectory(dir=options.folder.parent if options.folder.parent.is_dir() else None) as scratch:
        (Path(scratch) / "limit").mkdir()
        found = (train if kind == "training" else emulate)(workload, index, options, Path(scratch))
    names = ("workload", "volumes", "device", "emulate", "paths", "threads", "filters", "repeats", "seconds", "seed")
    settings = {name: getattr(options, name) for name in names}
    result = new_result(kind, options.device, command_of(options), settings)
    result |= {"workload": workload.to_json(), "data": volumes.describe(index, options.data), **found}
    path = options.out or result_path(result, options.workload)
    write_result(result, path)
    if kind == "training":
        middle = {name: values["median"] for name, values in found["summary"].items()}
        print("steps/s: {loader:.3f} with the loader, {kept:.3f} with one batch, ratio {ratio:.3f}".format(**middle))
    print(f"written to {path}")
    return 0


def command_of(options: argparse.Namespace) -> str:
    """Return the command that runs this again."""
    words = ["python -m benchmarks.training"]
    words += [f"--{n} {getattr(options, n)}" for n in ("workload", "volumes", "device", "threads", "filters")]
    words += [f"--{n} {getattr(options, n):g}" for n in ("repeats", "seconds", "seed")]
    words += ["--data DIR"] if options.data else []
    words += [" ".join(["--emulate", *(f"{ms:g}" for ms in options.emulate)])] if options.emulate is not None else []
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
