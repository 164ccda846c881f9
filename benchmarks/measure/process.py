"""Start a process of `benchmarks.measure.worker` for a job or several, and take what it finds."""

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
"""No run takes so long unless it hangs."""

_ROOT = Path(__file__).resolve().parents[2]


def run(job: Job) -> dict[str, Any]:
    """Run a job in a fresh process and return what it found.

    Raises
    ------
    RuntimeError
        If it failed or hung; the message is the end of what it said.
    """
    ((_, found),) = run_each([job])
    if isinstance(found, RuntimeError):
        raise found
    return found


def run_each(jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any] | RuntimeError]]:
    """Run jobs of one number of workers one after the other in one fresh process.

    Yields
    ------
    job, found : Job, dict or RuntimeError
        What the job found, as soon as it is there; or why it failed: the message is the end of what it said. With
        several jobs on a GPU, the last run of each contender gets its "gpu_busy" after all of them.
    """
    command = [sys.executable, "-m", "benchmarks.measure.worker"]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, text=True, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=said) as process,
    ):
        timer = threading.Timer(LIMIT_SECONDS * len(jobs), process.kill)
        timer.start()
        try:
            yield from _results(process, jobs, said)
        finally:
            timer.cancel()
            process.kill()


def _results(
    process: subprocess.Popen[str], jobs: Sequence[Job], said: IO[str]
) -> Iterator[tuple[Job, dict[str, Any] | RuntimeError]]:
    """Hand the jobs over and yield what comes back, a line a job, then a line a contender."""
    assert process.stdin
    assert process.stdout
    last: dict[str, dict[str, Any]] = {}
    with suppress(BrokenPipeError):  # a process that has died is told by its output, which ends
        process.stdin.write(json.dumps([job.to_json() for job in jobs]))
        process.stdin.close()
    for job in jobs:
        line = process.stdout.readline()
        if not line:
            yield job, RuntimeError(f"{job.contender}: ended with {process.wait()}:\n{_end_of(said)}")
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


def _end_of(said: IO[str]) -> str:
    """Return the last lines of what a process said."""
    said.seek(0)
    return "\n".join(said.read().strip().splitlines()[-5:])
