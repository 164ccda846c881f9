"""One step of a run: losses and gradients of its batches, and the change of the weights."""

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
from .config import RunSettings
from .progress import Progress
from .ranks import average_gradients
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
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    def loader(self) -> dali_cr.Loader:
        """What reads the samples."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What changes the weights."""

    @property
    def average(self) -> Average | None:
        """The average of the weights, with --ema."""

    @property
    def frozen(self) -> FrozenEncoder | None:
        """What keeps the encoder as it is, with --freeze-encoder."""

    @property
    def state(self) -> dict[str, Any] | None:
        """The checkpoint to go on from."""

    def stream(self) -> Iterator[dict[str, Any]]:
        """Return the batches, without end, with the samples' numbers under "sample"."""

    def losses(self, step: int, batch: dict[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return what is minimised as "loss", the first, and its parts: the same names at every step, on the device."""

    @property
    def last_step_learns(self) -> bool:
        """Whether the learning rate of the last step is above 0."""

    def measure(self, record: Record, step: int) -> object:
        """Measure on what is not trained on, and write it down; of several processes the first alone does."""

    def save(self, progress: Progress) -> None:
        """Write the checkpoint; of several processes the first alone does."""

    def report(self, progress: Progress) -> dict[str, Any]:
        """Return what a run that is stopped reports."""


@dataclass(frozen=True)
class Taken:
    """What a step was made of."""

    samples: torch.Tensor
    """Numbers of its samples, int64, on the CPU."""
    losses: dict[str, torch.Tensor]
    """The loss and its parts, means over the step's batches, on the device."""


def rate_of(run: TrainingRun, step: int) -> float:
    """Return the learning rate of a step, of which it is a function, so that a resumed run has nothing to restore."""
    config = run.config
    to_zero = not run.last_step_learns
    freeze = run.frozen.steps if run.frozen else 0
    return learning_rate(step, config.steps, config.lr, config.warmup, config.schedule, freeze=freeze, to_zero=to_zero)


def take_step(run: TrainingRun, step: int, batches: Iterator[dict[str, Any]]) -> Taken:
    """Take one step over the next ``config.accumulate`` batches; nothing here waits for the device.

    The loss is the mean of the batches' losses, so gradients are those of one batch with the samples of all, where a
    batch's loss is the mean over its samples. Gradients are averaged over processes once, then clipped.

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
