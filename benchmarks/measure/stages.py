"""Running of commands in groups within a time budget, each command until it succeeds once at a commit."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Any

from benchmarks.measure.results import new_result, read_result, write_result
from benchmarks.measure.usage import family

_TAIL = 4000
"""Characters of a stage's output in the result; the log has all of it."""


@dataclass(frozen=True)
class Stage:
    """A command with its limits.

    Attributes
    ----------
    name : str
    command : tuple of str
        A program with arguments; "python" is the current interpreter.
    limit : float
        Seconds after which it is killed.
    needs : float
        Seconds that must be left of the budget to start it.
    group : str, optional
        Consecutive stages with the same group run in parallel.
    """

    name: str
    command: tuple[str, ...]
    limit: float = 600.0
    needs: float = 0.0
    group: str | None = None


def run_stages(kind: str, stages: Sequence[Stage], out: Path, budget: float = math.inf) -> dict[str, Any]:
    """Run the stages that have not succeeded at this commit, and write their results to one JSON file.

    The file is written after each stage, so an interrupted run continues with the next one.

    Parameters
    ----------
    kind : str
        Kind of the result, which is also the name of the file.
    stages : sequence of Stage
        Stages in order of importance.
    out : Path
        Output folder, also of the logs.
    budget : float
        Seconds for all stages: a stage that needs more than is left is not run, and one that takes longer is killed.

    Returns
    -------
    result : dict
        "stages" has for each its command, status ("passed", "failed", "over time", "missing" or "not run"), seconds,
        and the end of its output.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, end = out / f"{kind}.json", time.perf_counter() + budget
    result = new_result(kind, "cuda", f"python -m benchmarks.gpu {kind.removeprefix('gpu-')}", {})
    earlier = read_result(path) if path.exists() else None
    same = earlier is not None and earlier["environment"]["commit"] == result["environment"]["commit"]
    result["stages"] = earlier["stages"] if earlier is not None and same else {}
    for group in in_groups(stages):
        todo = [stage for stage in group if result["stages"].get(stage.name, {}).get("status") != "passed"]
        for stage in group:
            print(f"{stage.name}: {' '.join(stage.command) if stage in todo else 'passed before'}", flush=True)
        for stage, found in run_group(todo, out, kind, end):
            result["stages"][stage.name] = found
            print(f"{stage.name}: {found['status']} after {found['seconds']:.0f} s", flush=True)
            write_result(result, path)
    return result


def in_groups(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Yield consecutive stages of a group together, and stages without a group alone."""
    alone = count()
    for _, group in groupby(stages, key=lambda stage: stage.group or next(alone)):
        yield list(group)


def run_group(stages: Sequence[Stage], out: Path, kind: str, end: float) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """Run stages in parallel; yield each with its result as it ends."""
    with ThreadPoolExecutor(max(1, len(stages))) as pool:
        futures = {}
        for stage in stages:
            left = max(0.0, end - time.perf_counter())
            if stage.needs > left or not left:
                about = f"needs about {stage.needs:.0f} s, {left:.0f} s of the budget are left"
                yield stage, {"command": " ".join(stage.command), "seconds": 0.0, "output": about, "status": "not run"}
                continue
            log = out / f"{kind}-{stage.name}.log"
            futures[pool.submit(run_stage, stage, log, min(stage.limit, left))] = stage
        for future in as_completed(futures):
            yield futures[future], future.result()


def run_stage(stage: Stage, log: Path, limit: float) -> dict[str, Any]:
    """Run one stage and return its entry of the result."""
    program = sys.executable if stage.command[0] == "python" else shutil.which(stage.command[0])
    about: dict[str, Any] = {"command": " ".join(stage.command), "seconds": 0.0, "output": ""}
    if program is None:
        return {**about, "status": "missing", "output": f"{stage.command[0]} is not installed"}
    arguments = [sys.executable if word == "python" else word for word in stage.command[1:]]
    start, status = time.perf_counter(), "over time"
    with open(log, "w") as file:
        process = subprocess.Popen([program, *arguments], stdout=file, stderr=subprocess.STDOUT)
        try:
            status = "passed" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            _end(process)
    output = log.read_text(errors="replace")[-_TAIL:]
    return {**about, "status": status, "seconds": time.perf_counter() - start, "output": output}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its descendants."""
    for pid in family(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
