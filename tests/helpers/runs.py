"""Start training runs as commands, stop them at a step, and read their metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.prefork import start_parent
from train import pretrain

ROOT = Path(__file__).parents[2]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Number of threads of compared runs: with small networks, threads mostly wait for each other."""

_BY_THE_CLOCK = ("pairs_per_s", "data_wait_share")


def run_to_its_end(command: Sequence[Any]) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's root; it may fail. Python modules run in a fork that has their imports."""
    if list(command[:2]) == [sys.executable, "-m"] and not str(command[2]).startswith("torch"):
        with tempfile.TemporaryDirectory() as folder:
            return start_parent(ROOT, *sorted(ENVIRONMENT.items())).run(command, Path(folder))
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900)


def metrics(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def timeless(out: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without values that depend on speed."""
    return [{name: value for name, value in line.items() if name not in _BY_THE_CLOCK} for line in metrics(out)]


def steps_done(out: Path) -> int:
    """Return the last step in a run's metrics, -1 for none."""
    try:
        return max((line["step"] for line in metrics(out) if "loss" in line), default=-1)
    except (FileNotFoundError, json.JSONDecodeError):
        return -1


def stop_at(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Make a pre-training run in this process send itself SIGTERM at a step."""
    losses = pretrain.PretrainRun.losses

    def stop(run: pretrain.PretrainRun, step: int, batch: dict[str, Any]) -> Any:
        if step == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(run, step, batch)

    monkeypatch.setattr(pretrain.PretrainRun, "losses", stop)
