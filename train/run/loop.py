"""The loop of a run: fetch, step, write down, measure, save; and leave when asked to."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

import dali_cr

from . import ranks
from .clock import Clock, Lap
from .exits import Stop, Stopped
from .record import Record


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many steps, and what is done between them."""

    steps: int
    checkpoint_every: int
    log_every: int
    evaluate_every: int


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a run does at each step.

    Attributes
    ----------
    take_step : function of (step, batch)
        Takes one step; returns its numbers by name, still on the device, the same at every step. The first is the loss.
    measure : function of (record, step)
        Measures on what is not trained on, and writes it down; of several processes the first alone does.
    save : function of (step, time so far)
        Writes the checkpoint; of several processes the first alone does.
    report : function of (step, time so far)
        What a run that is stopped reports.
    rate : function
        The learning rate of the last step.
    skipped : function
        How many cases could not be read so far; told at every line.
    """

    schedule: Schedule
    device: torch.device
    take_step: Callable[[int, dict[str, Any]], Mapping[str, torch.Tensor]]
    measure: Callable[[Record, int], object]
    save: Callable[[int, Lap], None]
    report: Callable[[int, Lap], dict[str, Any]]
    rate: Callable[[], float]
    skipped: Callable[[], int] = lambda: 0

    def run(self, batches: Iterator[dict[str, Any]], record: Record | None, done: int, total: Lap) -> Lap:
        """Take the steps from `done` on; return the time that all of them took.

        Parameters
        ----------
        batches : iterator of dict
            With the samples' numbers under "sample".
        record : Record or None
            None in all processes but the first.
        done : int
            Steps that an earlier run has taken.
        total : Lap
            The time that they took.

        Raises
        ------
        Stopped
            After SIGINT or SIGTERM, when the run is saved.
        FloatingPointError
            When the loss is not finite; the last checkpoint is left as it was.
        dali_cr.VolumeError
            When a file broke since it was scanned; the steps before it are saved.
        """
        schedule, losses, clock = self.schedule, Losses(), Clock(self.device)
        quiet = 0.5 if sys.stderr.isatty() else 30
        bar = tqdm(total=schedule.steps, initial=done, unit="step", mininterval=quiet, disable=record is None)
        with bar, Stop() as stop:
            # A run that was told to stop at such a step left without measuring.
            due = done and done % schedule.evaluate_every == 0 and done < schedule.steps
            if record and due and done not in record.measured:
                self.measure(record, done)
            clock.restart()
            for step in range(done + 1, schedule.steps + 1):
                batch, broken = self._fetch(clock, batches)
                if broken:
                    if losses:
                        losses.drain()
                    if record:
                        self.save(step - 1, total)
                    raise broken
                losses.add(step, batch["sample"], self.take_step(step, batch))
                bar.update()

                signal = ranks.largest(stop.signal or 0)
                last = step == schedule.steps or signal != 0
                saves = last or step % schedule.checkpoint_every == 0
                measures = step % schedule.evaluate_every == 0 and not last
                if saves or measures or step == done + 1 or step % schedule.log_every == 0:
                    means = losses.drain()
                    lap = clock.lap()
                    # The first step of a process pays for starting up.
                    total += lap if last or step > done + 1 else Lap()
                    count = self.skipped()
                    lost = {"skipped": count} if count else {}
                    if record:
                        record.write(step, **means, lr=self.rate(), **lap.rates, **lost)
                    loss = next(iter(means.values()))
                    bar.set_postfix_str(f"loss {loss:.4f}, {lap}" + "".join(f", {n} skipped" for n in lost.values()))
                if record and measures:
                    self.measure(record, step)
                if record and saves:
                    self._keep(record, step, total, last=last)
                if measures or saves:
                    clock.restart()
                if signal and step < schedule.steps:
                    raise Stopped(signal, self.report(step, total))
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
            self.save(step, total)
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
