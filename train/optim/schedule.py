"""Learning rates as a function of the step."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["cosine", "poly"]

POWER = 0.9
"""Of the polynomial decay, as in nnU-Net."""


def learning_rate(
    step: int,
    steps: int,
    lr: float,
    warmup: float,
    schedule: ScheduleName = "cosine",
    *,
    freeze: int = 0,
    to_zero: bool = False,
) -> float:
    """Return the learning rate of a step, counted from 1: a linear warm-up to `lr`, then a decay.

    With W = max(1, round(warmup * steps)) and p = (step - W) / (steps - W + 1), the rate is

    * lr * step / W up to step W,
    * then lr * (1 + cos(pi * p)) / 2, or lr * (1 - p) ** 0.9 with "poly".

    It would be 0 at the step after the last. With `freeze`, the first `freeze` steps and the others are two such
    schedules, one after the other, each with a warm-up of its own: as in nnU-Net's fine-tuning of pre-trained networks
    ("sawtooth"), the decoder is warmed up alone and then the whole network.

    Parameters
    ----------
    step, steps : int
    lr : float
        The highest rate.
    warmup : float
        Share of the steps that warm up; at least one step does.
    schedule : "cosine" or "poly"
    freeze : int
        Steps with a frozen encoder; with 0 or all of them there is one schedule.
    to_zero : bool
        Whether the decay ends at 0 with the last step, as in runs that version 0.1.0 began.

    Examples
    --------
    >>> [round(learning_rate(step, steps=4, lr=1.0, warmup=0.5), 3) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 0.75, 0.25]
    >>> [round(learning_rate(step, 4, 1.0, 0.0, "poly"), 3) for step in (1, 2, 3, 4)]
    [1.0, 0.772, 0.536, 0.287]
    >>> [round(learning_rate(step, 6, 1.0, 0.5, freeze=2), 3) for step in (1, 2, 3, 4, 5, 6)]
    [1.0, 0.5, 0.5, 1.0, 0.75, 0.25]
    """
    if 0 < freeze < steps:
        step, steps = (step, freeze) if step <= freeze else (step - freeze, steps - freeze)
    rise = max(1, round(warmup * steps))
    if step <= rise:
        return lr * step / rise
    part = (step - rise) / (steps - rise + (0 if to_zero else 1))
    if schedule == "poly":
        return lr * math.pow(1 - part, POWER)
    return lr * 0.5 * (1 + math.cos(math.pi * part))
