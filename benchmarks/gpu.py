"""All that a GPU must show, in three commands that go on where they were cut.

::

    python -m benchmarks.gpu check --out DIR     # is it right? about 5 minutes
    python -m benchmarks.gpu bench --out DIR     # how fast is it, and against whom?
    python -m benchmarks.gpu study --out DIR     # does pre-training help?

Each writes one JSON file (gpu-check.json, …) and a log a stage into DIR, and installs nothing. A stage that passed at
the same commit is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure.stages import Stage, run_stages

_EVERY_KERNEL = ("python", "-m", "tests.manual.every_kernel")
_SANITIZER = ("compute-sanitizer", "--error-exitcode", "9", "--print-limit", "20")


def stages_of(command: str, out: Path) -> list[Stage]:
    """Return the stages of a command.

    Parameters
    ----------
    command : "check", "bench" or "study"
    out : Path
        The folder that results go to.
    """
    if command == "check":
        return [
            Stage("kernels", _EVERY_KERNEL, 120),
            Stage("memcheck", (*_SANITIZER, "--tool", "memcheck", *_EVERY_KERNEL), 240),
            Stage("racecheck", (*_SANITIZER, "--tool", "racecheck", *_EVERY_KERNEL), 240),
            Stage(
                "tests", ("python", "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={out / 'gpu-tests.xml'}", "tests")
            ),
        ]
    if command == "study":
        study = ("python", "-m", "train.study", "train/studies/gpu/study.toml", "--jobs", "4", "--device", "cuda")
        kept = ("--runs", str(out / "study-runs"), "--results", str(out / "study"))
        return [Stage("study", (*study, *kept), 24 * 3600)]
    found = [Stage("kernels", _bench("kernels", out / "kernels.json"), 240)]
    arguments: tuple[str, ...]
    for workload in "abdev":
        arguments = ("--workload", workload, "--workers", "4", "16", "--repeats", "3", "--seconds", "3")
        found.append(Stage(f"loader-{workload}", _bench("loader", out / f"loader-{workload}.json", *arguments), 900))
    for workload in "ab":
        arguments = ("--workload", workload)
        found.append(Stage(f"training-{workload}", _bench("training", out / f"training-{workload}.json", *arguments)))
    return found


def _bench(module: str, out: Path, *arguments: str) -> tuple[str, ...]:
    return ("python", "-m", f"benchmarks.{module}", "--device", "cuda", *arguments, "--out", str(out))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code: 0 if no stage failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("check", "bench", "study"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="the folder for results and logs")
    parser.add_argument("--only", nargs="+", help="stages; all without it")
    options = parser.parse_args(arguments)
    stages = stages_of(options.command, options.out)
    unknown = set(options.only or ()) - {stage.name for stage in stages}
    if unknown:
        parser.error(f"wanted stages among {', '.join(s.name for s in stages)}; got {', '.join(sorted(unknown))}")
    chosen = [stage for stage in stages if options.only is None or stage.name in options.only]
    result = run_stages(f"gpu-{options.command}", chosen, options.out)
    statuses = {name: result["stages"][name]["status"] for name in (stage.name for stage in chosen)}
    for name, status in statuses.items():
        print(f"{name:<12} {status}")
    return 1 if {"failed", "over time"} & set(statuses.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
