"""What a pre-training run trains and by which loss: a `Method`.

`train.pretrain` looks at the data, steps, measures, saves and resumes; all that differs between one way to pre-train
and another is a `Method`. `restoration` is context restoration (and what it is compared with), `pcrlv2` is PCRLv2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import dali_cr

from ..networks.network import Network
from .config import PretrainConfig


@dataclass(frozen=True)
class Measured:
    """What held-out samples showed."""

    numbers: dict[str, float | None]
    """For metrics.jsonl; None where a number is undefined."""
    said: str
    """The same in words, short."""
    slices: dict[str, npt.NDArray[np.float32]]
    """The rows of preview.png from top to bottom, each (n, H, W); with `target` and `restored` among them."""


class Method(ABC):
    """A way to pre-train.

    Made as ``METHODS[config.recipe](config, channels)`` of `train.pretrain`, under the run's seed: torch's
    global random state has just been set, and the weights are drawn from it. A `ValueError` refuses the settings.

    Attributes
    ----------
    recipe : dali_cr.Restoration or dali_cr.Views
        What the loader's samples are made of; as the settings' `samples` makes it.
    network : Network
        What is exported: ``model.safetensors`` has its `tensors`, ``encoder.safetensors`` its `encoder`, read from
        ``network.module.state_dict()``; fine-tuning builds it again from `network.about` with `build_network`.
    module : nn.Module
        What is trained, and moved to the device: `network.module` itself, or a module that holds it beside heads that
        only pre-training needs. Its ``state_dict()``, buffers included, goes into the checkpoint and comes from it.
    reported : tuple of str
        Those of `measure`'s numbers that the report at the end of the output has. A stopped run has None for each.
    """

    recipe: Any
    network: Network
    module: nn.Module
    reported: tuple[str, ...] = ("restoration_gain",)

    def __init__(self, config: PretrainConfig, network: Network, module: nn.Module | None = None) -> None:
        self.config, self.recipe, self.network = config, config.samples(), network
        self.module = network.module if module is None else module

    @abstractmethod
    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss of a batch, and its parts.

        Parameters
        ----------
        batch : dict
            From the loader of `recipe`; its tensors lie on the device.
        step : int
            Counted from 1, the same for a resumed run. What is drawn here must follow from it (by `dali_cr.rng` with
            ``self.config.seed``), or come from torch's random state, which the checkpoint keeps.

        Returns
        -------
        dict of str to torch.Tensor
            Numbers (0-d), in the same order at every step. The first is called "loss" and is minimised; all of them go
            to metrics.jsonl under their names, as means since the last line. They are read rarely: return tensors on
            the device, and do not wait for them.
        """

    @abstractmethod
    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure on ``self.config.evaluate_samples`` samples of held-out cases, the same ones every time.

        Leaves the module in training mode, and torch's random state as it was.

        Parameters
        ----------
        loader : dali_cr.Loader
            Over the held-out cases with `recipe`, at its beginning; of the training's batch size.
        """

    def compiled(self) -> Iterable[nn.Module]:
        """Return the modules to compile where that is asked for: all of `module`, or those whose sizes are few."""
        return [self.module]

    def introduce(self) -> Iterator[str]:
        """Yield lines that say what is trained, as `crop       64 × 64 × 64 voxels`."""
        yield from ()
