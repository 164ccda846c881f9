"""Commands run one after the other, each once: what a machine that is lent for minutes should do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure.results import new_result, read_result, write_result

_TAIL = 4000
"""Characters of a stage's output that are kept in the result; all of it is in its log."""


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes
    ----------
    name : str
    command : tuple of str
        A program, or "python" for the interpreter that runs now.
    limit : float
        Seconds after which it is ended.
    """

    name: str
    command: tuple[str, ...]
    limit: float = 600.0


def run_stages(kind: str, stages: Sequence[Stage], out: Path) -> dict[str, Any]:
    """Run the stages that have not succeeded yet at this commit, and keep what each did in one JSON file.

    The file is written after each stage: a run that was cut goes on with the next one.

    Parameters
    ----------
    kind : str
        Of the result; the file is named by it.
    stages : sequence of Stage
    out : Path
        A folder; each stage's whole output is in a log there.

    Returns
    -------
    result : dict
        stages: of each its command, status ("passed", "failed", "over time" or "missing"), seconds, and the end of its
        output.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{kind}.json"
    result = new_result(kind, "cuda", f"python -m benchmarks.gpu {kind.removeprefix('gpu-')}", {})
    earlier = read_result(path) if path.exists() else None
    same = earlier is not None and earlier["environment"]["commit"] == result["environment"]["commit"]
    result["stages"] = earlier["stages"] if earlier is not None and same else {}
    for stage in stages:
        if result["stages"].get(stage.name, {}).get("status") == "passed":
            print(f"{stage.name}: passed before")
            continue
        print(f"{stage.name}: {' '.join(stage.command)}", flush=True)
        result["stages"][stage.name] = found = run_stage(stage, out / f"{kind}-{stage.name}.log")
        print(f"{stage.name}: {found['status']} after {found['seconds']:.0f} s", flush=True)
        write_result(result, path)
    return result


def run_stage(stage: Stage, log: Path) -> dict[str, Any]:
    """Run one stage; return its status, seconds and the end of its output."""
    program = sys.executable if stage.command[0] == "python" else shutil.which(stage.command[0])
    about: dict[str, Any] = {"command": " ".join(stage.command), "seconds": 0.0, "output": ""}
    if program is None:
        return {**about, "status": "missing", "output": f"{stage.command[0]} is not installed"}
    arguments = [sys.executable if word == "python" else word for word in stage.command[1:]]
    start, status = time.perf_counter(), "over time"
    with open(log, "w") as file:
        process = subprocess.Popen([program, *arguments], stdout=file, stderr=subprocess.STDOUT)
        try:
            status = "passed" if process.wait(stage.limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    output = log.read_text(errors="replace")[-_TAIL:]
    return {**about, "status": status, "seconds": time.perf_counter() - start, "output": output}
