"""A run stopped by a signal is saved first, at any point of the loop."""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.run.computation import ON_CPU
from train.run.exits import Stopped
from train.run.loop import Loop
from train.run.progress import Progress
from train.run.record import Record


class Run:
    """A run of nine steps with one weight, in which a signal comes at the second."""

    def __init__(self, asked: str) -> None:
        self.asked, self.taken, self.saved = asked, [], []
        self.config: Any = SimpleNamespace(
            steps=9,
            step_samples=1,
            accumulate=1,
            lr=0.1,
            warmup=0.0,
            schedule_options={"schedule": "cosine"},
            checkpoint_every=100,
            log_every=1,
            evaluation_interval=2,
            clip=0.0,
        )
        self.device, self.state, self.computation = torch.device("cpu"), None, ON_CPU
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.optimizer = torch.optim.SGD([self.weight])
        self.average, self.frozen, self.last_step_learns = None, None, True
        self.loader: Any = SimpleNamespace(skipped={}, next_sample=0)

    def stream(self) -> Iterator[dict[str, Any]]:
        return ({"sample": torch.tensor([n])} for n in itertools.count())

    def losses(self, step: int, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        self.taken.append(step)
        self.ask("losses", step)
        return {"loss": 1.0 * self.weight}

    def measure(self, record: Record, step: int) -> None:
        self.ask("measure", step)

    def save(self, progress: Progress) -> None:
        self.saved.append(progress.step)

    def report(self, progress: Progress) -> dict[str, Any]:
        return {"steps": progress.step}

    def ask(self, where: str, step: int) -> None:
        if where == self.asked and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("asked", ["losses", "measure"])
def test_a_stopped_run_was_saved_at_its_last_step(tmp_path: Path, asked: str) -> None:
    run = Run(asked)
    with Record(tmp_path, None) as record, pytest.raises(Stopped) as stopped:
        Loop(run, record, Progress()).take_steps()
    # A signal that comes while it measures is seen after the next step.
    assert run.taken[-1] == run.saved[-1] == stopped.value.report["steps"] == {"losses": 2, "measure": 3}[asked]
