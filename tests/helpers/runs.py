"""Whole runs of the trainer: started as commands, stopped at a step, and what they wrote down."""

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
"""Of the runs that are compared: with networks this small, threads that wait for each other cost most of the time."""

_BY_THE_CLOCK = ("pairs_per_s", "data_wait_share")


def run_to_its_end(command: Sequence[Any]) -> subprocess.CompletedProcess[str]:
    """Run a command from the project's root; it may fail. A Python module is run in a fork, without its imports."""
    if list(command[:2]) == [sys.executable, "-m"] and not str(command[2]).startswith("torch"):
        with tempfile.TemporaryDirectory() as folder:
            return start_parent(ROOT, *sorted(ENVIRONMENT.items())).run(command, Path(folder))
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900)


def metrics(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def timeless(out: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without what depends on the machine's speed."""
    return [{name: value for name, value in line.items() if name not in _BY_THE_CLOCK} for line in metrics(out)]


def steps_done(out: Path) -> int:
    """Return the last step that a run has written down, -1 for none."""
    try:
        return max((line["step"] for line in metrics(out) if "loss" in line), default=-1)
    except (FileNotFoundError, json.JSONDecodeError):
        return -1


def stop_at(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Have a pre-training run in this process send itself SIGTERM at a step."""
    losses = pretrain.PretrainRun.losses

    def stop(run: pretrain.PretrainRun, step: int, batch: dict[str, Any]) -> Any:
        if step == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(run, step, batch)

    monkeypatch.setattr(pretrain.PretrainRun, "losses", stop)
