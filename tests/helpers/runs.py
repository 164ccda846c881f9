"""Start training runs as commands, stop them at a step, and read their metrics."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.prefork import ENVIRONMENT, start_parent
from train import pretrain

_BY_THE_CLOCK = ("samples_per_s", "pairs_per_s", "data_wait_share")


def run_to_its_end(command: Sequence[Any]) -> subprocess.CompletedProcess[str]:
    """Run a Python command in the project's root, in a fork that has its imports; it may fail."""
    return start_parent().run(command)


def run_ranks(command: Sequence[Any], count: int = 2, **options: Any) -> list[subprocess.CompletedProcess[str]]:
    """Run a command as the processes that torchrun starts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [
        {**ENVIRONMENT, **place, "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(count)
    ]
    return start_parent().run_together([command] * count, [{"env": environment, **options} for environment in ranks])


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
