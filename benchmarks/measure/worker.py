"""Worker process: reads jobs from stdin as JSON, measures contenders, and writes one line of results per job to stdout.

The process is bound to as many cores as the jobs have workers before other imports, since thread pools get their size
at creation. Before a job, all of its files are read once into the page cache. Timing starts and ends with the arrival
of a batch, so that it covers whole batches. It starts after the prefetched batches and, with a cache, when every volume
is cached and written to the disk.

If several jobs share a process, their memory cannot be separated and is null, and the profiler, which slows down
everything after it, runs after the last job.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.contenders.feed import Arrays, Feed, Job


def measure(job: Job, alone: bool = True) -> dict[str, Any]:
    """Measure a job; `alone` is whether it has the process for itself. See the module's docstring for the method."""
    from benchmarks.contenders.roster import ROSTER
    from benchmarks.measure import usage
    from benchmarks.workloads.verdict import judge

    _warm(job)
    gpu_before = usage.gpu_bytes() if job.device == "cuda" and alone else None
    start = time.perf_counter()
    feed = ROSTER[job.contender].open(job)
    batches = feed.batches()
    pairs, arrays = next(batches)
    opened = time.perf_counter()
    _check_batch(job, pairs, arrays)
    least = max(1, job.workers)
    _take(feed, batches, pairs=len(feed.index) if feed.fills_cache else 0, count=least)
    if feed.fills_cache:
        os.sync()
    synchronize(job.device)
    before, cpu_before, disk_before = feed.report(), usage.cpu_seconds(), usage.disk_bytes()
    warm = time.perf_counter()
    pairs, count = _take(feed, batches, seconds=job.seconds, count=2 * least)
    synchronize(job.device)
    seconds, cpu = time.perf_counter() - warm, usage.cpu_seconds() - cpu_before
    found = {
        "pairs": pairs,
        "batches": count,
        "seconds": seconds,
        "pairs_per_s": pairs / seconds,
        "cpu_s_per_pair": cpu / pairs,
        "disk_bytes_per_pair": (usage.disk_bytes() - disk_before) / pairs,
        "resident_bytes": usage.resident_bytes() if alone else None,
        "peak_bytes": usage.peak_bytes() if alone else None,
        "gpu_bytes": None if gpu_before is None else (usage.gpu_bytes() or 0) - gpu_before,
        "first_batch_s": opened - start,
        "warm_up_s": warm - opened,
        "report_before": before,
        "report": feed.report(),
        "seed": job.seed,
    }
    if job.device == "cuda" and arrays and alone:
        found["gpu_busy"] = _gpu_busy(feed, batches)
    batches.close()  # type: ignore[attr-defined]
    feed.close()
    corruption = feed.corruption()
    found["verdict"] = judge(corruption, job.workload.crop) if corruption else None
    return found


def _warm(job: Job) -> None:
    """Read the files of a job into the page cache."""
    from benchmarks.contenders.roster import ROSTER
    from benchmarks.measure.page_cache import read_once
    from benchmarks.workloads.copies import copied_files
    from dali_cr.index.cases import Index

    read_once(copied_files(ROSTER[job.contender].copy, Index.load(job.index)))


def _take(feed: Feed, batches: Any, *, pairs: int = 0, seconds: float = 0.0, count: int = 0) -> tuple[int, int]:
    """Consume batches until all three minimums are reached; return the numbers of pairs and batches."""
    end = time.perf_counter() + seconds
    got = taken = 0
    while got < pairs or taken < count or time.perf_counter() < end:
        got += next(batches)[0]
        taken += 1
    return got, taken


def _check_batch(job: Job, pairs: int, arrays: Arrays) -> None:
    """Check that a contender's batch has the expected size, shapes and dtype, finite targets and changed inputs."""
    import numpy as np

    for array, asked in zip(arrays, job.workload.shapes, strict=bool(arrays)):
        # Some contenders use (x, y, z).
        shape, wanted = (*array.shape[:-3], *sorted(array.shape[-3:])), (*asked[:-3], *sorted(asked[-3:]))
        if shape != wanted or str(array.dtype).removeprefix("torch.") != "float32":
            raise RuntimeError(f"{job.contender}: expected float32 {wanted}, got {array.dtype} {tuple(array.shape)}")
    if arrays:
        input, target = (np.asarray(a.cpu() if hasattr(a, "cpu") else a) for a in arrays[:2])
        if not np.isfinite(target).all() or np.array_equal(input, target):
            raise RuntimeError(f"{job.contender}: expected finite targets and inputs that differ from them")
    if pairs != job.workload.batch_size:
        raise RuntimeError(f"{job.contender}: expected batches of {job.workload.batch_size}, got {pairs}")


def _gpu_busy(feed: Feed, batches: Any, count: int = 20) -> dict[str, Any]:
    """Return the GPU time per batch, by kernel and copy, over all streams of this process."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        _take(feed, batches, count=count)
        synchronize("cuda")
    spent = {event.key: event.self_device_time_total / 1e6 / count for event in profiler.key_averages()}
    top = dict(sorted(spent.items(), key=lambda item: -item[1])[:12])
    return {"seconds_per_batch": sum(spent.values()), "by_name": top}


def synchronize(device: str) -> None:
    """Synchronise with the GPU."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def release(device: str) -> None:
    """Free the memory of a job."""
    gc.collect()
    if device == "cuda":
        import cupy
        import torch

        cupy.get_default_memory_pool().free_all_blocks()
        torch.cuda.empty_cache()


def busy(job: Job) -> dict[str, Any]:
    """Return a contender's name and GPU time per batch; None for the time if it makes no arrays."""
    from benchmarks.contenders.roster import ROSTER

    feed = ROSTER[job.contender].open(job)
    batches = feed.batches()
    _, arrays = next(batches)
    _take(feed, batches, pairs=len(feed.index) if feed.fills_cache else 0, count=max(1, job.workers))
    found = _gpu_busy(feed, batches) if arrays else None
    batches.close()  # type: ignore[attr-defined]
    feed.close()
    return {"contender": job.contender, "gpu_busy": found}


def main() -> None:
    """Read the jobs, measure them and write the results."""
    asked = json.load(sys.stdin)
    os.sched_setaffinity(0, asked[0]["cores"])
    from benchmarks.contenders.feed import Job

    # Output of libraries must not mix with the results.
    out, sys.stdout = sys.stdout, sys.stderr
    jobs = [Job.from_json(fields) for fields in asked]
    measured: dict[str, Job] = {}
    for job in jobs:
        try:
            found = measure(job, alone=len(jobs) == 1)
            measured[job.contender] = job
        except Exception as error:  # the other jobs still run
            traceback.print_exc()
            found = {"failure": "".join(traceback.format_exception_only(error)).strip()}
        print(json.dumps(found), file=out, flush=True)
        release(job.device)
    if len(jobs) > 1 and jobs[0].device == "cuda":
        for job in measured.values():
            print(json.dumps(busy(job)), file=out, flush=True)
            release(job.device)


if __name__ == "__main__":
    main()
