"""Start of `benchmarks.measure.worker` processes and collection of their results."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.contenders.feed import Job

LIMIT_SECONDS = 1800
"""Timeout of a run."""

_ROOT = Path(__file__).resolve().parents[2]


def run(job: Job) -> dict[str, Any]:
    """Run a job in a new process and return its result.

    Raises
    ------
    RuntimeError
        If it failed or timed out, with the end of its output as message.
    """
    ((_, found),) = run_each([job])
    if isinstance(found, RuntimeError):
        raise found
    return found


def run_each(jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any] | RuntimeError]]:
    """Run jobs with the same number of workers one after the other in a new process.

    Yields
    ------
    job, found : Job, dict or RuntimeError
        The result of the job as soon as it is available, or an error with the end of the process's output. With several
        jobs on a GPU, "gpu_busy" is added to the last run of each contender after all jobs.
    """
    command = [sys.executable, "-m", "benchmarks.measure.worker"]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, text=True, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=errors) as process,
    ):
        timer = threading.Timer(LIMIT_SECONDS * len(jobs), process.kill)
        timer.start()
        try:
            yield from _results(process, jobs, errors)
        finally:
            timer.cancel()
            process.kill()


def _results(
    process: subprocess.Popen[str], jobs: Sequence[Job], errors: IO[str]
) -> Iterator[tuple[Job, dict[str, Any] | RuntimeError]]:
    """Send the jobs and yield the results: one line per job, then one line per contender."""
    assert process.stdin
    assert process.stdout
    last: dict[str, dict[str, Any]] = {}
    with suppress(BrokenPipeError):  # a process that has died is detected by the end of its output
        process.stdin.write(json.dumps([job.to_json() for job in jobs]))
        process.stdin.close()
    for job in jobs:
        line = process.stdout.readline()
        if not line:
            yield job, RuntimeError(f"{job.contender}: ended with {process.wait()}:\n{_end_of(errors)}")
            continue
        found: dict[str, Any] = json.loads(line)
        if "failure" in found:
            yield job, RuntimeError(f"{job.contender}: {found['failure']}")
            continue
        last[job.contender] = found
        yield job, found
    for line in process.stdout:
        busy = json.loads(line)
        last[busy["contender"]]["gpu_busy"] = busy["gpu_busy"]


def _end_of(errors: IO[str]) -> str:
    """Return the last lines of a process's output."""
    errors.seek(0)
    return "\n".join(errors.read().strip().splitlines()[-5:])
