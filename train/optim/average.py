"""An exponential moving average of a network's weights (EMA), which is evaluated and exported in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


def decay_of(step: int, decay: float) -> float:
    """Return the decay of a step, counted from 1: the first ones forget the initial weights faster.

    It is min(decay, (1 + step) / (10 + step)), as of TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``.

    Examples
    --------
    >>> [round(decay_of(step, 0.999), 3) for step in (1, 10, 100, 10_000)]
    [0.182, 0.55, 0.918, 0.999]
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """The average of a module's parameters and floating-point buffers; other buffers are those of the last step.

    Each update is ``average = d * average + (1 - d) * weights``, with d from `decay_of`.

    Parameters
    ----------
    module : nn.Module
        On its device, with the weights to begin with.
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
        """Take in the weights after a step, counted from 1; a GPU is not waited for."""
        kept, live = ([tensors[name] for name in self._averaged] for tensors in (self._kept, self._live))
        torch._foreach_lerp_(kept, live, 1 - decay_of(step, self.decay))
        for name in self._copied:
            self._kept[name].copy_(self._live[name])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have the module hold the average while entered, and the very weights of the last step after it."""
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
        """Return the average by the module's names; each tensor once."""
        return dict(self._kept)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on with the average of a checkpoint.

        Raises
        ------
        ValueError
            If it is of other tensors.
        """
        if state.keys() != self._kept.keys():
            odd = min(state.keys() ^ self._kept.keys())
            raise ValueError(f"ema: expected the average of this network in the checkpoint, {odd} does not fit")
        for name, tensor in self._kept.items():
            tensor.copy_(state[name])


def averaged(average: Average | None) -> AbstractContextManager[None]:
    """Have a module hold its average while entered, if there is one."""
    return average.in_use() if average else nullcontext()
