"""AdamW and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .ranks import average_gradients


def build_optimizer(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW that decays weights, and leaves norms and biases alone."""
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=weights[0].is_cuda)


def learning_rate(step: int, steps: int, lr: float, warmup: float, *, to_zero: bool = False) -> float:
    """Return the rate of a step, counted from 1: up to `lr` in a line, then down along half a cosine.

    The cosine is 0 at the step after the last, which so learns too.

    Parameters
    ----------
    step, steps : int
        Which, of how many.
    lr : float
        The highest rate.
    warmup : float
        Share of the steps that go up; at least one step does.
    to_zero : bool
        Whether the cosine is 0 at the last step, as in runs that version 0.1.0 began.

    Examples
    --------
    >>> [round(learning_rate(step, steps=4, lr=1.0, warmup=0.5), 3) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 0.75, 0.25]
    """
    rise = max(1, round(warmup * steps))
    if step <= rise:
        return lr * step / rise
    fall = steps - rise + (0 if to_zero else 1)
    return lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / fall))


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float, clip: float) -> None:
    """Change the weights along the gradient of a loss, no longer than `clip` unless that is 0, at a learning rate."""
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(weights)
    if clip:
        nn.utils.clip_grad_norm_(weights, clip)
    optimizer.step()
