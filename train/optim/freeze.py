"""An encoder that is frozen for the first steps of a run."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class FrozenEncoder:
    """Keeps an encoder as it is for some steps: its parameters, and the running statistics of its norms.

    Frozen batch norms use their running statistics, as in evaluation.

    Parameters
    ----------
    encoder : nn.Module
        A part of the module that is trained.
    steps : int
        How many steps, from the first one on.
    """

    def __init__(self, encoder: nn.Module, steps: int) -> None:
        self.steps = steps
        self._parameters = list(encoder.parameters())
        self._norms = [part for part in encoder.modules() if isinstance(part, _NormBase)]
        self._frozen = False

    def prepare(self, step: int) -> None:
        """Freeze the encoder, or end that, before a step, counted from 1."""
        frozen = step <= self.steps
        if frozen or self._frozen:
            # At each step: evaluation puts all of the module back into training mode.
            for norm in self._norms:
                norm.train(not frozen)
        if frozen != self._frozen:
            for parameter in self._parameters:
                parameter.requires_grad_(not frozen)
            self._frozen = frozen
