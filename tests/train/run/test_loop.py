"""A run that is asked to stop is saved first, whenever it is asked."""

import itertools
import os
import signal
from pathlib import Path

import pytest
import torch

from train.run.clock import Lap
from train.run.exits import Stopped
from train.run.loop import Loop, Schedule
from train.run.record import Record


@pytest.mark.parametrize("asked", ["take_step", "measure"])
def test_a_stopped_run_was_saved_at_its_last_step(tmp_path: Path, asked: str) -> None:
    saved: list[int] = []
    taken: list[int] = []

    def ask(where: str, step: int) -> None:
        if where == asked and step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    def take_step(step: int, batch: object) -> dict[str, torch.Tensor]:
        taken.append(step)
        ask("take_step", step)
        return {"loss": torch.tensor(1.0)}

    loop = Loop(
        schedule=Schedule(steps=9, checkpoint_every=100, log_every=1, evaluate_every=2),
        device=torch.device("cpu"),
        take_step=take_step,
        measure=lambda record, step: ask("measure", step),
        save=lambda step, total: saved.append(step),
        report=lambda step, total: {"steps": step},
        rate=lambda: 0.1,
    )
    batches = ({"sample": torch.tensor([n])} for n in itertools.count())
    with Record(tmp_path, None) as record, pytest.raises(Stopped) as stopped:
        loop.run(batches, record, 0, Lap())
    # A signal that comes while it measures is seen after the next step.
    assert taken[-1] == saved[-1] == stopped.value.report["steps"] == {"take_step": 2, "measure": 3}[asked]
