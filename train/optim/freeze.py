"""Freezing of an encoder for the first steps of a run."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class FrozenEncoder:
    """Freezes the parameters and the running statistics of an encoder for the first steps.

    Frozen batch norms use their running statistics, as in evaluation.

    Parameters
    ----------
    encoder : nn.Module
        Part of the module to train.
    steps : int
        Number of steps, from the first one on.
    """

    def __init__(self, encoder: nn.Module, steps: int) -> None:
        self.steps = steps
        self._parameters = list(encoder.parameters())
        self._norms = [part for part in encoder.modules() if isinstance(part, _NormBase)]
        self._frozen = False

    def prepare(self, step: int) -> None:
        """Freeze or unfreeze the encoder before a step, counted from 1."""
        frozen = step <= self.steps
        if frozen or self._frozen:
            # At each step, since evaluation sets the whole module back to training mode.
            for norm in self._norms:
                norm.train(not frozen)
        if frozen != self._frozen:
            for parameter in self._parameters:
                parameter.requires_grad_(not frozen)
            self._frozen = frozen
