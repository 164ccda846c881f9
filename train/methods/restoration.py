"""Context restoration as a method of pre-training, and the two it is compared with.

Chen et al. (2019) swap patches and minimise the squared error of undoing it. `--pretext inpaint` erases boxes instead
(Pathak et al. 2016), `--pretext autoencode` changes nothing. Crops, network and loss are the same for all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

import dali_cr

from ..networks.build import build_network
from ..networks.plans import read_levels
from ..run.device import autocast
from .config import Config
from .evaluation import evaluate
from .method import Measured, Method


class Restoration(Method):
    """Undo what was done to a crop; the loss is the mean squared error over all of it.

    Parameters
    ----------
    config : Config
    channels : int
        Of a case.
    """

    recipe: dali_cr.Restoration
    reported: ClassVar[tuple[str, ...]] = ("restoration_gain", "mse", "psnr")

    def __init__(self, config: Config, channels: int) -> None:
        levels = read_levels(config.plans, config.configuration, config.crop, config.dims) if config.plans else None
        network = build_network(config.network, channels, config.crop, config.filters, levels=levels, dims=config.dims)
        super().__init__(config, network)

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss, and that of returning the input."""
        target, input = batch["target"], batch["input"]
        with autocast(target.device):
            restored = self.module(input)
        return {"loss": F.mse_loss(restored.float(), target), "loss_of_idling": F.mse_loss(input, target)}

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure the restoration gain, the squared error and the signal-to-noise ratio."""
        return evaluate(self.module, loader, self.config.evaluate_samples, self.recipe.pretext)

    def introduce(self) -> Iterator[str]:
        """Say what is trained."""
        config = self.config
        size = f" of {' × '.join(f'{mm:g}' for mm in config.spacing)} mm" if config.spacing else ""
        yield f"crop       {' × '.join(map(str, config.crop))} voxels{size}, normalize {config.normalize}"
        if config.slices:
            yield f"slices     across {config.slices}, every {config.every}"
        edges = f"{config.iterations} a crop, edges of {' '.join(map(str, config.patch))} voxels"
        lines = {
            "swap": f"swaps      {edges}",
            "inpaint": f"erased     {edges}",
            "autoencode": "nothing    is changed: an autoencoder",
        }
        yield lines[config.pretext]
