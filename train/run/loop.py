"""The loop of a run: fetch, step, write down, measure, save; and leave when asked to."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tqdm import tqdm

import dali_cr

from . import ranks
from .checkpoint import take_up
from .clock import Clock, Lap
from .computation import Computation
from .config import RunSettings
from .exits import Stop, Stopped
from .optimizer import update
from .record import Record


class TrainingRun(Protocol):
    """What the loop needs of a run: its parts, and what it does at a step and between steps."""

    @property
    def config(self) -> RunSettings:
        """How many steps, and how often to log, measure and save."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def computation(self) -> Computation:
        """How the losses are computed."""

    @property
    def loader(self) -> dali_cr.Loader:
        """What reads the samples."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What changes the weights."""

    @property
    def state(self) -> dict[str, Any] | None:
        """The checkpoint to go on from."""

    def stream(self) -> Iterator[dict[str, Any]]:
        """Return the batches, without end, with the samples' numbers under "sample"."""

    def losses(self, step: int, batch: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return what is minimised as "loss", the first, and its parts: the same names at every step, on the device."""

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""

    def measure(self, record: Record, step: int) -> object:
        """Measure on what is not trained on, and write it down; of several processes the first alone does."""

    def save(self, step: int, total: Lap) -> None:
        """Write the checkpoint; of several processes the first alone does."""

    def report(self, step: int, total: Lap) -> dict[str, Any]:
        """Return what a run that is stopped reports."""


def take_step(run: TrainingRun, step: int, batch: dict[str, Any]) -> Mapping[str, torch.Tensor]:
    """Take one step; return the loss and its parts, still on the device."""
    losses = run.computation.call(lambda: run.losses(step, batch))
    update(run.optimizer, losses["loss"], run.rate(step), run.config.clip)
    return losses


@contextmanager
def open_loop(run: TrainingRun) -> Iterator[Loop]:
    """Put optimiser and random numbers where they were, and open the loader and, in the first process, the curves."""
    done, total = take_up(run.state, run.optimizer, run.device)
    record = Record(run.config.out, done if run.state else None) if ranks.is_first() else None
    with run.loader, record or nullcontext():
        yield Loop(run, record, done, total)
    for name, reason in run.loader.skipped.items():
        print(f"skipped    {name}: {reason}")


@dataclass(frozen=True)
class Loop:
    """The steps of a run.

    Attributes
    ----------
    run : TrainingRun
    record : Record or None
        None in all processes but the first.
    done : int
        Steps that an earlier process has taken.
    total : Lap
        The time that they took.
    """

    run: TrainingRun
    record: Record | None
    done: int
    total: Lap

    def take_steps(self) -> Lap:
        """Take the steps that are left; return the time that all of them took.

        Raises
        ------
        Stopped
            After SIGINT or SIGTERM, when the run is saved.
        FloatingPointError
            When the loss is not finite; the last checkpoint is left as it was.
        dali_cr.VolumeError
            When a file broke since it was scanned; the steps before it are saved.
        """
        run, record, done, total, config = self.run, self.record, self.done, self.total, self.run.config
        losses, clock, batches = Losses(), Clock(run.device), run.stream()
        quiet = 0.5 if sys.stderr.isatty() else 30
        bar = tqdm(total=config.steps, initial=done, unit="step", mininterval=quiet, disable=record is None)
        with bar, Stop() as stop:
            # A run that was told to stop at such a step left without measuring.
            due = done and done % config.evaluation_interval == 0 and done < config.steps
            if record and due and done not in record.measured:
                run.measure(record, done)
            clock.restart()
            for step in range(done + 1, config.steps + 1):
                batch, broken = self._fetch(clock, batches)
                if broken:
                    if losses:
                        losses.drain()
                    if record:
                        run.save(step - 1, total)
                    raise broken
                losses.add(step, batch["sample"], take_step(run, step, batch))
                bar.update()

                signal = ranks.largest(stop.signal or 0)
                last = step == config.steps or signal != 0
                saves = last or step % config.checkpoint_every == 0
                measures = step % config.evaluation_interval == 0 and not last
                if saves or measures or step == done + 1 or step % config.log_every == 0:
                    means = losses.drain()
                    lap = clock.lap()
                    # The first step of a process pays for starting up.
                    total += lap if last or step > done + 1 else Lap()
                    count = len(run.loader.skipped)
                    lost = {"skipped": count} if count else {}
                    if record:
                        record.write(step, **means, lr=run.rate(step), **lap.rates, **lost)
                    loss = next(iter(means.values()))
                    bar.set_postfix_str(f"loss {loss:.4f}, {lap}" + "".join(f", {n} skipped" for n in lost.values()))
                if record and measures:
                    run.measure(record, step)
                if record and saves:
                    self._keep(record, step, total, last=last)
                if measures or saves:
                    clock.restart()
                if signal and step < config.steps:
                    raise Stopped(signal, run.report(step, total))
        return total

    def _fetch(
        self, clock: Clock, batches: Iterator[dict[str, Any]]
    ) -> tuple[dict[str, Any], dali_cr.VolumeError | None]:
        """Return the next batch, or what is to be raised if this process or another could not make it."""
        batch: dict[str, Any] = {}
        broken = None
        try:
            batch = clock.fetch(batches)
        except dali_cr.VolumeError as error:
            broken = error
        if ranks.largest(broken is not None) and not broken:
            broken = dali_cr.VolumeError("another process", "could not read a volume; it says which")
        return batch, broken

    def _keep(self, record: Record, step: int, total: Lap, *, last: bool) -> None:
        """Save, curves first; where the disk is full, go on with the checkpoint there was, unless this is the last."""
        try:
            record.sync()
            self.run.save(step, total)
        except OSError as error:
            if last:
                raise
            tqdm.write(f"step {step}: not saved, {error}; training goes on, the checkpoint before stays")


class Losses:
    """Keeps the losses of steps on their device until they are asked for."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._steps: list[tuple[int, list[int]]] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        """Return how many steps are kept."""
        return len(self._steps)

    def add(self, step: int, samples: torch.Tensor, numbers: Mapping[str, torch.Tensor]) -> None:
        """Keep a step's numbers, the loss first, the same ones at every step; `samples` are its samples' numbers."""
        self._names = list(numbers)
        self._steps.append((step, samples.tolist()))
        self._values.append(torch.stack([number.detach().float() for number in numbers.values()]))

    def drain(self) -> dict[str, float]:
        """Wait for the device and return the means, over all processes, of what was added since the last time.

        Raises
        ------
        FloatingPointError
            When a loss was not finite, naming the samples of the first such batch.
        """
        values = torch.stack(self._values).tolist()
        places = [place for place, (loss, *_) in enumerate(values) if not math.isfinite(loss)]
        if ranks.largest(bool(places)):
            raise FloatingPointError(self._blame(places[0], values) if places else "the loss of another process broke")
        self._steps.clear()
        self._values.clear()
        means = ranks.mean([sum(column) / len(values) for column in zip(*values, strict=True)])
        return dict(zip(self._names, means, strict=True))

    def _blame(self, place: int, values: list[list[float]]) -> str:
        step, samples = self._steps[place]
        return (
            f"the loss became {values[place][0]} at step {step}, with the samples {samples}. Look at them with "
            "`dali-cr preview`; if they are sound, --resume with a smaller --lr or --clip"
        )
