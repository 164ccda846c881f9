"""Learning-rate schedules as functions of the step."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["cosine", "poly", "step", "constant"]

POWER = 0.9
"""Exponent of the polynomial decay, as in nnU-Net."""

FACTOR = 0.5
"""Default factor of each decay of "step", as in the public code of PCRLv2."""


def learning_rate(
    step: int,
    steps: int,
    lr: float,
    warmup: float,
    schedule: ScheduleName = "cosine",
    *,
    freeze: int = 0,
    to_zero: bool = False,
    step_every: int = 0,
    step_factor: float = FACTOR,
) -> float:
    """Return the learning rate of a step, counted from 1: a linear warm-up to `lr`, then a decay.

    With W = max(1, round(warmup * steps)) and p = (step - W) / (steps - W + 1), the rate is

    * lr * step / W up to step W,
    * then lr * (1 + cos(pi * p)) / 2, which would reach 0 one step after the last; or with "poly" lr * (1 - p) ** 0.9,
      with "step" lr * step_factor ** floor((step - W) / step_every), with "constant" lr.

    With W = 1, "step" is `torch.optim.lr_scheduler.StepLR`, called after each step. With `freeze`, the first `freeze`
    steps and the remaining steps have separate schedules, each with its own warm-up, as in nnU-Net's "sawtooth"
    schedule for fine-tuning.

    Parameters
    ----------
    step, steps : int
    lr : float
        Highest learning rate.
    warmup : float
        Fraction of the steps for the warm-up; at least one step.
    schedule : "cosine", "poly", "step" or "constant"
    freeze : int
        Steps with a frozen encoder; there is a single schedule if it is 0 or all steps.
    to_zero : bool
        Whether the rate of the last step is 0, as in runs started by version 0.1.0.
    step_every : int
        With "step", number of steps between decays.
    step_factor : float
        With "step", factor of each decay.

    Examples
    --------
    >>> [round(learning_rate(step, steps=4, lr=1.0, warmup=0.5), 3) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 0.75, 0.25]
    >>> [round(learning_rate(step, 4, 1.0, 0.0, "poly"), 3) for step in (1, 2, 3, 4)]
    [1.0, 0.772, 0.536, 0.287]
    >>> [learning_rate(step, 6, 1.0, 0.0, "step", step_every=2) for step in (1, 2, 3, 4, 5, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    >>> [round(learning_rate(step, 6, 1.0, 0.5, freeze=2), 3) for step in (1, 2, 3, 4, 5, 6)]
    [1.0, 0.5, 0.5, 1.0, 0.75, 0.25]
    """
    if 0 < freeze < steps:
        step, steps = (step, freeze) if step <= freeze else (step - freeze, steps - freeze)
    rise = max(1, round(warmup * steps))
    if step <= rise:
        return lr * step / rise
    if schedule == "constant":
        return lr
    if schedule == "step":
        return lr * math.pow(step_factor, (step - rise) // step_every)
    part = (step - rise) / (steps - rise + (0 if to_zero else 1))
    if schedule == "poly":
        return lr * math.pow(1 - part, POWER)
    return lr * 0.5 * (1 + math.cos(math.pi * part))
