"""One training step: losses, gradients, and the update of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

import dali_cr

from ..optim.average import Average
from ..optim.freeze import FrozenEncoder
from ..optim.optimizer import set_rate
from ..optim.schedule import learning_rate
from .computation import Computation
from .config.training import RunSettings
from .progress import Progress
from .ranks import average_gradients
from .record import Record


class TrainingRun(Protocol):
    """Interface of a run that the training loop uses."""

    @property
    def config(self) -> RunSettings:
        """Settings of the run."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    @property
    def computation(self) -> Computation:
        """Computation of the losses, compiled or not."""

    @property
    def module(self) -> nn.Module:
        """Module that is trained."""

    @property
    def loader(self) -> dali_cr.Loader:
        """Loader of the samples."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Optimiser of the weights."""

    @property
    def average(self) -> Average | None:
        """Moving average of the weights, with --ema."""

    @property
    def frozen(self) -> FrozenEncoder | None:
        """Frozen encoder, with --freeze-encoder."""

    @property
    def state(self) -> dict[str, Any] | None:
        """Checkpoint to resume from; None for a new run."""

    def stream(self) -> Iterator[dict[str, Any]]:
        """Return an endless iterator of batches; the entry "sample" has the numbers of the samples."""

    def losses(self, step: int, batch: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return "loss", which is minimised, and then its terms, with the same names at every step, on the device."""

    @property
    def last_step_learns(self) -> bool:
        """Whether the learning rate of the last step is above 0."""

    def measure(self, record: Record, step: int) -> object:
        """Evaluate and record the metrics; only the first of several processes does."""

    def save(self, progress: Progress) -> None:
        """Write the checkpoint; only the first of several processes does."""

    def report(self, progress: Progress) -> dict[str, Any]:
        """Return the report of a stopped run."""


@dataclass(frozen=True)
class Taken:
    """Samples and losses of a step."""

    samples: torch.Tensor
    """Numbers of the samples, int64, on the CPU."""
    losses: dict[str, torch.Tensor]
    """The loss and its parts, means over the step's batches, on the device."""


def rate_of(run: TrainingRun, step: int) -> float:
    """Return the learning rate of a step, a function of the step and the settings alone."""
    config = run.config
    to_zero = not run.last_step_learns
    freeze = run.frozen.steps if run.frozen else 0
    options = config.schedule_options
    return learning_rate(step, config.steps, config.lr, config.warmup, freeze=freeze, to_zero=to_zero, **options)


def take_step(run: TrainingRun, step: int, batches: Iterator[dict[str, Any]]) -> Taken:
    """Take one step over the next ``config.accumulate`` batches, without synchronising with the device.

    The loss is the mean of the losses of the batches. Gradients are averaged over processes once, then clipped.

    Raises
    ------
    dali_cr.VolumeError
        If a batch cannot be made; the module is then as before the step.
    """
    config, weights = run.config, [weight for group in run.optimizer.param_groups for weight in group["params"]]
    if run.frozen:
        run.frozen.prepare(step)
    run.optimizer.zero_grad(set_to_none=True)
    samples, found = [], []
    # The first batches of a step change running statistics of batch norms.
    before = [buffer.clone() for buffer in run.module.buffers()] if config.accumulate > 1 else []
    for _ in range(config.accumulate):
        try:
            batch = next(batches)
        except dali_cr.VolumeError:
            for buffer, kept in zip(run.module.buffers(), before, strict=bool(before)):
                buffer.copy_(kept)
            raise
        losses = run.computation.call(partial(run.losses, step, batch))
        (losses["loss"] / config.accumulate if config.accumulate > 1 else losses["loss"]).backward()
        samples.append(batch["sample"])
        found.append({name: loss.detach() for name, loss in losses.items()})
    average_gradients(weights)
    if config.clip:
        nn.utils.clip_grad_norm_(weights, config.clip)
    set_rate(run.optimizer, rate_of(run, step))
    run.optimizer.step()
    if run.average:
        run.average.update(step)
    if len(found) == 1:
        return Taken(samples[0], found[0])
    return Taken(torch.cat(samples), {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]})
