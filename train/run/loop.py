"""The training loop: fetch a batch, take a step, log, evaluate, save, and stop on signals."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tqdm import tqdm

import dali_cr

from . import ranks
from .checkpoint import restore_state
from .clock import Clock, Lap
from .exits import Stop, Stopped
from .forecast import Forecast
from .progress import Cost, Progress
from .record import Losses, Record
from .step import TrainingRun, rate_of, take_step


@contextmanager
def open_loop(run: TrainingRun) -> Iterator[Loop]:
    """Context of the loop: restore the state, and open the loader and, in the first process, the record."""
    progress = restore_state(run.state, run.optimizer, run.average, run.device)
    record = Record(run.config.out, progress.step if run.state else None) if ranks.is_first() else None
    with run.loader, record or nullcontext():
        yield Loop(run, record, progress)
    for name, reason in run.loader.skipped.items():
        print(f"skipped    {name}: {reason}")


class Loop:
    """The training loop of a run.

    Parameters
    ----------
    run : TrainingRun
    record : Record or None
        None in all processes but the first.
    before : Progress
        Progress at the start of this process.
    """

    def __init__(self, run: TrainingRun, record: Record | None, before: Progress) -> None:
        self.run, self.record, self.before = run, record, before
        self.step, self.lap = before.step, before.lap
        self._began = time.perf_counter()

    @property
    def progress(self) -> Progress:
        """The current progress of the run."""
        cost = self.before.cost
        if cost:
            samples = (self.step - self.before.step) * self.run.config.step_samples
            seconds = (time.perf_counter() - self._began) * ranks.count()
            cost = Cost(cost.samples + samples, cost.device_seconds + seconds)
        return Progress(self.step, self.lap, cost)

    def take_steps(self) -> None:
        """Take the remaining steps.

        Raises
        ------
        Stopped
            After SIGINT or SIGTERM, when the run is saved.
        FloatingPointError
            If the loss is not finite; the last checkpoint is kept.
        dali_cr.VolumeError
            If a file cannot be read; the steps before it are saved.
        """
        run, record, config = self.run, self.record, self.run.config
        losses, clock, forecast = Losses(), Clock(run.device), Forecast(run.device, config.step_samples)
        batches = self._fetch(clock, run.stream())
        quiet = 0.5 if sys.stderr.isatty() else 30
        bar = tqdm(total=config.steps, initial=self.step, unit="step", mininterval=quiet, disable=record is None)
        with bar, Stop() as stop:
            # A run that was stopped at an evaluation step has not evaluated yet.
            due = self.step and self.step % config.evaluation_interval == 0 and self.step < config.steps
            if record and due and self.step not in record.measured:
                run.measure(record, self.step)
            clock.restart()
            for step in range(self.step + 1, config.steps + 1):
                start = run.loader.next_sample
                try:
                    with forecast.step():
                        taken = take_step(run, step, batches)
                except dali_cr.VolumeError:
                    self._save_steps_before(losses, start)
                    raise
                losses.add(step, taken.samples, taken.losses)
                self.step = step
                bar.update()

                signal = ranks.largest(stop.signal or 0)
                last = step == config.steps or signal != 0
                saves = last or step % config.checkpoint_every == 0
                measures = step % config.evaluation_interval == 0 and not last
                if saves or measures or step == self.before.step + 1 or step % config.log_every == 0:
                    self._log(losses, clock, bar, counts=last or step > self.before.step + 1)
                for line in forecast.lines(config.steps - step):
                    if record:
                        tqdm.write(line)
                if record and measures:
                    run.measure(record, step)
                if record and saves:
                    self._keep(record, last=last)
                if measures or saves:
                    clock.restart()
                if signal and step < config.steps:
                    raise Stopped(signal, run.report(self.progress))

    def _log(self, losses: Losses, clock: Clock, bar: Any, *, counts: bool) -> None:
        """Synchronise with the device, and record the steps since the last call."""
        run, step, means, lap = self.run, self.step, losses.drain(), clock.lap()
        # The first step of a process includes start-up costs.
        self.lap += lap if counts else Lap()
        count = len(run.loader.skipped)
        lost = {"skipped": count} if count else {}
        if self.record:
            self.record.write(step, **means, lr=rate_of(run, step), **lap.rates, **lost)
        loss = next(iter(means.values()))
        bar.set_postfix_str(f"loss {loss:.4f}, {lap}" + "".join(f", {n} skipped" for n in lost.values()))

    def _fetch(self, clock: Clock, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield batches.

        Raises
        ------
        dali_cr.VolumeError
            If this process or another could not read a volume.
        """
        while True:
            batch: dict[str, Any] = {}
            broken = None
            try:
                batch = clock.fetch(batches)
            except dali_cr.VolumeError as error:
                broken = error
            if ranks.largest(broken is not None) and not broken:
                broken = dali_cr.VolumeError("another process", "could not read a volume; see its output")
            if broken:
                raise broken
            yield batch

    def _save_steps_before(self, losses: Losses, start: int) -> None:
        """Save the steps before a failed one, whose samples begin at `start`."""
        if losses:
            losses.drain()
        loader = self.run.loader
        if loader.next_sample != start:  # batches of the same step were delivered before
            loader.load_state_dict({**loader.state_dict(), "next": start})
        if self.record:
            self.run.save(self.progress)

    def _keep(self, record: Record, *, last: bool) -> None:
        """Save the curves, then the checkpoint; on a full disk, continue unless this is the last checkpoint."""
        try:
            record.sync()
            self.run.save(self.progress)
        except OSError as error:
            if last:
                raise
            tqdm.write(f"step {self.step}: not saved, {error}; training continues, the previous checkpoint is kept")
