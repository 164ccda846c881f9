"""Benchmark of loaders from files, in pairs per second: this package, decoders alone, TorchIO, MONAI and nnU-Net.

::

    python -m benchmarks.loader
    python -m benchmarks.loader --workload a b c --workers 1 2 4 8 --repeats 5
    python -m benchmarks.loader --data scans/ --only igzip-needed ours-loader torchio
    python -m benchmarks.loader --breakdown --help          # where a batch's time goes

Every run has its own process, bound to as many cores as it has workers. The contenders alternate, and the tables have
medians with the 20th and 80th percentiles over the repeats. On a GPU, where starting takes longer than a run, our rows
with the same number of workers share one process. Files are read once before each run, so that only the rows "cold
disk" wait for a disk. One JSON file per workload is written to benchmarks/results after each run; `python -m
benchmarks.report` makes tables of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import breakdown
from benchmarks.contenders.feed import Job
from benchmarks.contenders.roster import ROSTER, Contender
from benchmarks.measure.machine import cores
from benchmarks.measure.options import make_parser
from benchmarks.measure.page_cache import can_drop
from benchmarks.measure.process import run_each
from benchmarks.measure.results import new_result, result_path, summarize, write_result
from benchmarks.workloads import volumes
from benchmarks.workloads.copies import Kind, find_copies, sizes_of
from benchmarks.workloads.workload import WORKLOADS, Workload
from dali_cr.index.cases import Index

_SUMMARIZED = (
    *("pairs_per_s", "cpu_s_per_pair", "disk_bytes_per_pair", "resident_bytes", "peak_bytes", "gpu_bytes", "warm_up_s"),
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("python -m benchmarks.loader", __doc__)
    data = parser.add_argument_group("data")
    data.add_argument("--workload", nargs="+", choices=sorted(WORKLOADS), default=["a", "b", "c"], help="workloads")
    data.add_argument("--data", type=Path, help="folder of volumes; default: synthetic volumes")
    data.add_argument("--volumes", type=int, help="number of volumes; default: 16, for c 4")
    data.add_argument("--folder", type=Path, default=volumes.FOLDER, help="folder of the synthetic volumes")
    what = parser.add_argument_group("what to measure")
    what.add_argument("--only", nargs="+", choices=sorted(ROSTER), help="names of contenders; default: all")
    what.add_argument(
        "--workers", type=int, nargs="+", help="numbers of workers; default: 0, 1, 2, 4 … up to the number of cores"
    )
    what.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device of the pairs")
    limits = parser.add_argument_group("duration and output")
    limits.add_argument("--repeats", type=int, default=5, help="repeats of each run")
    limits.add_argument("--seconds", type=float, default=5.0, help="minimum duration of a timed run")
    limits.add_argument(
        "--out", type=Path, help="file of the result, for a single workload; default: in benchmarks/results"
    )
    options = parser.parse_args(arguments)
    options.workers = sorted(set(options.workers or default_workers(cores())))
    if options.out and len(options.workload) > 1:
        parser.error("--out: expected one --workload with it, got several; omit --out")
    if min(options.workers) < 0 or options.repeats < 1:
        parser.error(f"expected --workers >= 0 and --repeats >= 1, got {options.workers} and {options.repeats}")
    return options


def default_workers(most: int) -> list[int]:
    """Return 0, the powers of two below `most`, and `most`."""
    return sorted({0, most, *(2**i for i in range(most.bit_length()))})


def plan(
    index: Index, copies: dict[Kind, Index], workload: Workload, options: argparse.Namespace, scratch: Path
) -> list[Job]:
    """Return all runs in order: within a repeat, contenders alternate."""
    indexes: dict[Kind | None, Index] = {None: index}
    indexes.update(copies.items())
    paths = {kind: scratch / f"index-{kind or 'original'}.json" for kind in indexes}
    for kind, path in paths.items():
        indexes[kind].save(path)
    usable, jobs = sorted(os.sched_getaffinity(0)), []
    for repeat in range(options.repeats):
        for workers in options.workers:
            for contender in chosen(options, workload):
                if missing(contender, index, options) or (workers == 0 and not contender.alone):
                    continue
                own = scratch / f"{contender.name}-{workers}-{repeat}"
                jobs.append(
                    Job(
                        contender=contender.name,
                        workload=workload,
                        index=paths[contender.copy],
                        workers=workers,
                        cores=tuple(usable[: max(1, workers)]),
                        seconds=options.seconds,
                        device=options.device,
                        seed=repeat,
                        scratch=own,
                    )
                )
    return jobs


def chosen(options: argparse.Namespace, workload: Workload) -> list[Contender]:
    """Return the requested contenders that support the workload's files and samples."""
    asked = [contender for name, contender in ROSTER.items() if not options.only or name in options.only]
    return [c for c in asked if workload.files in c.files and workload.samples in c.samples]


def missing(contender: Contender, index: Index, options: argparse.Namespace) -> str | None:
    """Return the reason why a contender cannot run here, or None."""
    if contender.cold and not can_drop(volumes.files_of(index)[0]):
        return "the page cache does not drop these files"
    return contender.missing(options.device)


def find_every_copy(index: Index, workload: Workload, options: argparse.Namespace) -> dict[Kind, Index]:
    """Return the volumes in each format that the contenders to run need."""
    able = [one for one in chosen(options, workload) if not missing(one, index, options)]
    kinds = dict.fromkeys(one.copy for one in able if one.copy)
    return {kind: find_copies(kind, index, workload, options.folder) for kind in kinds}


def in_processes(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group jobs by process: one job each, but on a GPU all of ours with the same number of workers."""
    groups: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        shared = job.device == "cuda" and ROSTER[job.contender].role == "ours"
        key = ("ours", job.workers) if shared else (job.contender, job.workers, job.seed)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def benchmark(workload: Workload, options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Run one workload, writing the result after each run; return the result and its path."""
    index = volumes.find_volumes(workload, options.volumes, options.data, options.folder)
    copies = find_every_copy(index, workload, options)
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    failures: dict[tuple[str, int], str] = {}
    result = new_result("loader", options.device, command_of(workload, options), settings_of(workload, options))
    data = {**volumes.describe(index, options.data), "copies_bytes": sizes_of(copies)}
    result |= {"workload": workload.to_json(), "data": data}
    path = options.out or result_path(result, workload.name)

    def write() -> None:
        contenders = chosen(options, workload)
        result["rows"] = [row for one in contenders for row in rows_of(one, runs, failures, index, options)]
        write_result(result, path)

    write()
    with tempfile.TemporaryDirectory(dir=options.folder.parent if options.folder.parent.is_dir() else None) as scratch:
        jobs = plan(index, copies, workload, options, Path(scratch))
        bar = tqdm(total=len(jobs), desc=f"workload {workload.name}", unit="run", disable=not sys.stderr.isatty())
        for group in in_processes(jobs):
            bar.set_postfix_str(f"{group[0].contender}, {group[0].workers} workers")
            for job in group:
                job.scratch.mkdir()
            for job, found in run_each(group):
                key = (job.contender, job.workers)
                if isinstance(found, RuntimeError):
                    failures[key] = str(found)
                    tqdm.write(str(found), file=sys.stderr)
                else:
                    runs.setdefault(key, []).append(found)
                write()
                bar.update()
            write()
        bar.close()
    return result, path


def rows_of(
    contender: Contender,
    runs: dict[tuple[str, int], list[dict[str, Any]]],
    failures: dict[tuple[str, int], str],
    index: Index,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Return a contender's rows, one for each number of workers, or one with the reason why it did not run."""
    about = {"contender": contender.name, "label": contender.label, "role": contender.role}
    if reason := missing(contender, index, options):
        return [{**about, "missing": reason}]
    rows = []
    for workers in options.workers:
        own = runs.get((contender.name, workers), [])
        row: dict[str, Any] = {**about, "workers": workers, "runs": own}
        if own:
            row["summary"] = {
                name: summarize([one[name] for one in own]) for name in _SUMMARIZED if own[0][name] is not None
            }
            row["verdict"] = own[0]["verdict"]
        if failure := failures.get((contender.name, workers)):
            row["failure"] = failure.splitlines()[-1]
        if own or failure:
            rows.append(row)
    return rows


def settings_of(workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Return the options without paths."""
    names = ("workers", "repeats", "seconds", "device", "only")
    return {"volumes": options.volumes or workload.volumes, **{name: getattr(options, name) for name in names}}


def command_of(workload: Workload, options: argparse.Namespace) -> str:
    """Return the command that repeats this workload."""
    words = [
        "python -m benchmarks.loader",
        f"--workload {workload.name}",
        f"--volumes {options.volumes or workload.volumes}",
    ]
    words += [f"--workers {' '.join(map(str, options.workers))}", f"--repeats {options.repeats}"]
    words += [f"--seconds {options.seconds:g}", f"--device {options.device}"]
    words += ["--data DIR"] if options.data else []
    words += [f"--only {' '.join(options.only)}"] if options.only else []
    return " ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return 1 if a contender failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--breakdown" in arguments:
        return breakdown.main([word for word in arguments if word != "--breakdown"])
    options = parse(arguments)
    failed = False
    for name in options.workload:
        workload = WORKLOADS[name]
        result, path = benchmark(workload, options)
        failed |= any("failure" in row for row in result["rows"])
        for row in result["rows"]:
            print(line_of(row))
        print(f"written to {path}", flush=True)
    return int(failed)


def line_of(row: dict[str, Any]) -> str:
    """Format a row as a line of text."""
    if "missing" in row:
        return f"{row['label']:<40} missing: {row['missing']}"
    if "summary" not in row:
        return f"{row['label']:<40} {row['workers']:>2} workers  failed: {row['failure']}"
    rate, cpu = row["summary"]["pairs_per_s"], row["summary"]["cpu_s_per_pair"]["median"]
    verdict = f"  {row['verdict']['verdict']}" if row["verdict"] and not row["verdict"]["swap"] else ""
    spread = f"({rate['p20']:.1f} to {rate['p80']:.1f})"
    speed = f"{rate['median']:9.1f} pairs/s {spread:<20} {1000 * cpu:8.1f} ms CPU a pair"
    return f"{row['label']:<40} {row['workers']:>2} workers {speed}{verdict}"


if __name__ == "__main__":
    sys.exit(main())
