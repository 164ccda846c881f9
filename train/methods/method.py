"""Interface of pre-training methods: modules to train, losses and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import dali_cr

from ..networks.network import Network
from ..output.figure import Origin
from ..output.mosaic import Column, grey_columns
from .config import PretrainConfig
from .preview import draw_restored


@dataclass(frozen=True)
class Measured:
    """Metrics on held-out samples."""

    numbers: dict[str, float | None]
    """Values for metrics.jsonl; None if undefined."""
    text: str
    """The main values as a short text."""
    slices: dict[str, npt.NDArray[np.float32]]
    """Rows of preview.png from top to bottom, (n, H, W) each; must contain `target` and `restored` for `columns` and
    `draw` of this class."""

    @property
    def shown(self) -> str:
        """Name of the picture in TensorBoard."""
        return "restored"

    @property
    def columns(self) -> list[Column]:
        """Grey pictures of each sample by kind, for TensorBoard."""
        return grey_columns(self.slices)

    def draw(self, out: Path, origin: Origin) -> None:
        """Write preview.png."""
        draw_restored(self.slices, out, origin)


class Method(ABC):
    """A pre-training method.

    `train.pretrain` creates it as ``METHODS[config.method](config, channels)``, right after torch's global random state
    was set from the run's seed; weights are drawn from that state. Raises ValueError for invalid settings.

    Attributes
    ----------
    recipe : dali_cr.Restoration or dali_cr.Views
        The recipe of the loader's samples, from the settings' `samples`.
    network : Network
        The network to export: ``model.safetensors`` gets its `tensors` and ``encoder.safetensors`` its `encoder`, both
        from ``network.module.state_dict()``. Fine-tuning rebuilds it from `network.about` with `build_network`.
    module : nn.Module
        The module to train: `network.module` itself, or a module that contains it and heads that only pre-training
        needs. Its ``state_dict()``, including buffers, is saved in the checkpoint.
    reported : tuple of str
        Names of the metrics of `measure` in the final report; they are None if the run was stopped.
    """

    recipe: Any
    network: Network
    module: nn.Module
    reported: tuple[str, ...] = ("restoration_gain",)

    def __init__(self, config: PretrainConfig, network: Network, module: nn.Module | None = None) -> None:
        self.config, self.recipe, self.network = config, config.samples(), network
        self.module = network.module if module is None else module

    @property
    def held_out_recipe(self) -> Any:
        """Recipe of held-out samples."""
        return self.recipe

    @property
    def about(self) -> dict[str, Any]:
        """Entries of config.json about the method, JSON-compatible."""
        return {}

    @abstractmethod
    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss of a batch and its terms.

        Parameters
        ----------
        batch : dict
            From a loader with `recipe`; its tensors are on the device.
        step : int
            Step number, counted from 1 and continued by a resumed run. Random numbers must be a function of it (by
            `dali_cr.rng` with ``self.config.seed``) or come from torch's random state, which the checkpoint keeps.

        Returns
        -------
        dict of str to torch.Tensor
            Scalars (0-d tensors) on the device, in the same order at every step; do not synchronise with the device.
            The first is called "loss" and is minimised. All are written to metrics.jsonl, averaged since the last line.
        """

    @abstractmethod
    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Evaluate on ``self.config.evaluate_samples`` samples of held-out cases, the same ones every time.

        Leaves the module in training mode and torch's random state unchanged.

        Parameters
        ----------
        loader : dali_cr.Loader
            A new loader over the held-out cases with `held_out_recipe` and the batch size of training.
        """

    def compiled(self) -> Iterable[nn.Module]:
        """Return the modules to compile with ``--compile``: `module`, or its parts with few input sizes."""
        return [self.module]

    def introduce(self) -> Iterator[str]:
        """Yield lines about the settings, such as `crop       64 × 64 × 64 voxels`."""
        yield from ()
