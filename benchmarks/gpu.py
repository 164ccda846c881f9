"""Checks, benchmarks and the study on a GPU: three commands that can be interrupted and continued.

::

    python -m benchmarks.gpu check --out DIR                  # correctness; at most 2 minutes on 16 cores
    python -m benchmarks.gpu bench --out DIR --budget 300     # speed, compared with other loaders
    python -m benchmarks.gpu study --out DIR                  # the effect of pre-training

Each writes one JSON file (gpu-check.json, …) and a log per stage into DIR, and installs nothing. Stages that passed at
the same commit are not repeated. With a budget in seconds, stages run in order of importance, and those that do not fit
into the remaining time are reported as not run.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.measure.machine import cores
from benchmarks.measure.options import make_parser
from benchmarks.measure.stages import Stage, run_stages

_ROOT = Path(__file__).resolve().parents[1]
_EVERY_KERNEL = ("python", "-m", "tests.manual.every_kernel")
_SANITIZER = ("compute-sanitizer", "--error-exitcode", "9", "--print-limit", "20")

_MOST_PROCESSES = 8
"""Maximum number of pytest processes; each has a CUDA context and DALI's threads."""

_ALONE = "test_memory_stays_flat"
"""Test of the GPU's total memory use, which must run without other processes on the GPU."""

_OF_A_GPU = re.compile(r"pytest\.mark\.gpu|\beach_device\b")
"""Found in files with GPU tests: the mark, or the fixture that applies it."""

_IGNORED = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "UserWarning")
"""Categories of warnings that are ignored with package versions other than those of constraints.txt."""

_BUDGETS = {"bench": 300.0}
"""Default budgets in seconds."""


def stages_of(command: str, out: Path) -> list[Stage]:
    """Return the stages of a command in order of importance.

    Parameters
    ----------
    command : "check", "bench" or "study"
    out : Path
        Folder of the results.
    """
    if command == "check":
        return _checks(out)
    if command == "bench":
        return _benchmarks(out)
    study = ("python", "-m", "train.study", "train/studies/gpu_short/study.toml", "--jobs", "4", "--device", "cuda")
    kept = ("--runs", str(out / "study-runs"), "--results", str(out / "study"))
    return [Stage("study", (*study, *kept), 4 * 3600)]


def _checks(out: Path) -> list[Stage]:
    """Return the stages of "check"; the first fills CuPy's kernel cache for the others, which run in parallel."""
    pytest = ("python", "-m", "pytest", "-q", "--durations", "5", "-m", "gpu", *allowances())
    spread = ("-n", str(max(1, min(_MOST_PROCESSES, cores() // 2))), "--dist", "load", "-k", f"not {_ALONE}")
    tests, memory = f"--junitxml={out / 'gpu-tests.xml'}", f"--junitxml={out / 'gpu-memory.xml'}"
    return [
        Stage("kernels", _EVERY_KERNEL, 60),
        Stage("tests", (*pytest, *spread, tests, *gpu_tests()), 110, group="side by side"),
        Stage("memcheck", (*_SANITIZER, "--tool", "memcheck", *_EVERY_KERNEL), 110, group="side by side"),
        Stage("racecheck", (*_SANITIZER, "--tool", "racecheck", *_EVERY_KERNEL), 110, group="side by side"),
        Stage("memory", (*pytest, "-k", _ALONE, memory, *gpu_tests()), 60),
    ]


def gpu_tests() -> list[str]:
    """Return the files with GPU tests, since collecting all other tests would take longer than running these."""
    files = sorted((_ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(_ROOT)) for path in files if _OF_A_GPU.search(path.read_text(encoding="utf-8"))]


def allowances() -> list[str]:
    """Return pytest options that ignore some warnings if package versions differ from constraints.txt."""
    return [word for name in _IGNORED for word in ("-W", f"ignore::{name}")] if other_versions() else []


def other_versions() -> dict[str, str]:
    """Return the installed packages whose versions differ from constraints.txt."""
    found = {}
    for line in (_ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        try:
            version = metadata.version(wanted.name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
        if (wanted.marker is None or wanted.marker.evaluate()) and version not in wanted.specifier:
            found[wanted.name] = version
    return found


def _benchmarks(out: Path) -> list[Stage]:
    """Return the stages of "bench"; `needs` is about the time that they took."""
    ours, peers = ("ours-gpu", "ours-loader", "ours-host"), ("igzip-needed", "plain", "monai-cache", "torchio")
    sizes = ("--batches", "64", "8", "--budget", "60")
    found = [
        Stage("kernels", _bench("kernels", out / "kernels.json", *sizes), 90, 30),
        Stage("breakdown", _bench("loader", out / "breakdown.json", "--breakdown", "--quick"), 60, 20),
        *(_loader(f"packed-{workload}", workload, out, ("igzip", "ours-packed"), 60, 30) for workload in "ad"),
    ]
    for workload in "adve":
        found.append(_training("training", workload, out, "--compile", "off", "--layout", "contiguous"))
        if workload != "e":
            found.append(_loader(f"loader-{workload}", workload, out, ours, 60, 30))
    found += [_training("compiled", w, out, "--compile", "on", "--layout", "channels-last") for w in "ad"]
    found.append(_loader("loader-b", "b", out, (*ours, "ours-packed"), 60, 30))
    found += [_loader(f"peers-{w}", w, out, (*peers, "monai-persistent", "nnunet"), 150, 60) for w in "ab"]
    found.append(_loader("peers-v", "v", out, ("torchio-views", "ours-packed"), 100, 30))
    found.append(_loader("loader-e", "e", out, ("pil", *ours, "pil-loader"), 100, 40))
    return found


def _training(name: str, workload: str, out: Path, *computation: str) -> Stage:
    """Return a stage of `benchmarks.training`, on packed volumes unless the workload has images."""
    packed = () if workload == "e" else ("--packed",)
    arguments = ("--workload", workload, *packed, "--repeats", "2", "--seconds", "3", *computation)
    slow = 60 if name == "compiled" else 0
    path = out / f"{name}-{workload}.json"
    return Stage(f"{name}-{workload}", _bench("training", path, *arguments), 90 + slow, 30 + slow)


def _loader(name: str, workload: str, out: Path, only: Sequence[str], limit: float, needs: float) -> Stage:
    """Return a stage of `benchmarks.loader` with one worker per core, at most 16."""
    arguments = ("--workload", workload, "--workers", str(min(16, cores())), "--repeats", "3", "--seconds", "1.5")
    return Stage(name, _bench("loader", out / f"{name}.json", *arguments, "--only", *only), limit, needs)


def _bench(module: str, out: Path, *arguments: str) -> tuple[str, ...]:
    return ("python", "-m", f"benchmarks.{module}", "--device", "cuda", *arguments, "--out", str(out))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code: 0 if no stage failed."""
    parser = make_parser("python -m benchmarks.gpu", __doc__)
    parser.add_argument("command", choices=("check", "bench", "study"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for results and logs")
    parser.add_argument("--only", nargs="+", help="names of stages; default: all")
    parser.add_argument(
        "--budget", type=float, help="seconds for all stages; default: 300 for bench, unlimited for the others"
    )
    options = parser.parse_args(arguments)
    stages = stages_of(options.command, options.out)
    unknown = set(options.only or ()) - {stage.name for stage in stages}
    if unknown:
        parser.error(f"expected stages among {', '.join(s.name for s in stages)}; got {', '.join(sorted(unknown))}")
    chosen = [stage for stage in stages if options.only is None or stage.name in options.only]
    if options.command == "check" and (other := other_versions()):
        print(f"package versions differ from constraints.txt, so some warnings are ignored: {other}")
    budget = options.budget if options.budget is not None else _BUDGETS.get(options.command, math.inf)
    result = run_stages(f"gpu-{options.command}", chosen, options.out, budget)
    for stage in chosen:
        found = result["stages"][stage.name]
        note = f"  {found['output']}" if found["status"] in ("not run", "missing") else ""
        print(f"{stage.name:<12} {found['status']:<10} {found['seconds']:6.1f} s{note}")
    statuses = {result["stages"][stage.name]["status"] for stage in chosen}
    return 1 if {"failed", "over time"} & statuses else 0


if __name__ == "__main__":
    sys.exit(main())
