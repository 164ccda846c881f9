"""Exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


def decay_of(step: int, decay: float) -> float:
    """Return the decay of a step, counted from 1; it is smaller in the first steps.

    It is min(decay, (1 + step) / (10 + step)), as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.

    Examples
    --------
    >>> [round(decay_of(step, 0.999), 3) for step in (1, 10, 100, 10_000)]
    [0.182, 0.55, 0.918, 0.999]
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """Moving average of a module's parameters and floating-point buffers; other buffers are copied from the last step.

    Each update is ``average = d * average + (1 - d) * weights``, with d from `decay_of`.

    Parameters
    ----------
    module : nn.Module
        On its device, with the initial weights.
    decay : float
        At least 0, and below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        self._live = {name: tensor.detach() for name, tensor in tensors.items()}
        self._kept = {name: tensor.clone() for name, tensor in self._live.items()}
        self._averaged = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        self._copied = [name for name, tensor in self._live.items() if not tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after a step, counted from 1, without synchronising with the GPU."""
        kept, live = ([tensors[name] for name in self._averaged] for tensors in (self._kept, self._live))
        torch._foreach_lerp_(kept, live, 1 - decay_of(step, self.decay))
        for name in self._copied:
            self._kept[name].copy_(self._live[name])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context in which the module has the averaged weights; afterwards it has its own weights again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, live in self._live.items():
            before = live.clone()
            live.copy_(self._kept[name])
            self._kept[name].copy_(before)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averaged tensors by their names in the module, each tensor once."""
        return dict(self._kept)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load the average of a checkpoint.

        Raises
        ------
        ValueError
            If the names of the tensors differ.
        """
        if state.keys() != self._kept.keys():
            odd = min(state.keys() ^ self._kept.keys())
            raise ValueError(f"ema: expected the tensors of this network in the checkpoint, {odd} differs")
        for name, tensor in self._kept.items():
            tensor.copy_(state[name])


def averaged(average: Average | None) -> AbstractContextManager[None]:
    """Context in which the module has the averaged weights, if there is an average."""
    return average.in_use() if average else nullcontext()
