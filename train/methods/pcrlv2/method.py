"""PCRLv2: restore a corrupted view at two scales, and compare it with another view and with local ones.

::

    python -m train.pretrain --recipe pcrlv2 --data scans/ --normalize window -1000 1000 --out runs/pcrlv2
    python -m train.pretrain --recipe pcrlv2 --data images/ --pattern "**/*.png" --dims 2 --crop 1 224 224 \
        --sizes 1 224 224 1 288 288 1 360 360 --local-crop 1 96 96 --local-sizes 1 64 64 1 96 96 1 128 128 \
        --patch 1 16 16 --out runs/pcrlv2-us

The second is of images, or of single slices across D of volumes: the same views and the same network without an axis.

The loss is that of the public code (RL4M/PCRLv2, ``train_3d.py``), all weights 1 but one::

    L = MSE(restored, target) + D(view 1, view 2; k) + beta(e) MSE(restored at level k, target)
        + 1 / (2 V) sum_v (D(view 1, local v; k'_v) + D(view 2, local v; k''_v))

Each k is uniform over the three levels of the decoder, and beta falls from 1 to 0 along half a cosine. Where we differ:
beta ends with the run, whatever its length (there: after 240 epochs), and follows steps in place of whole epochs, as
does the learning rate; levels are drawn from the seed; the decoder stops at the deepest level that is asked for, and
nothing is computed to be thrown away; a head that was not drawn rests, where there its momentum goes on. View 1 alone
is restored, as there. SGD has their momentum, and by default their learning rate, weight decay and batch, no warm-up
and gradients of any length. What the paper itself says of weights and epochs is not known to us.

Averages over whole views differ little between samples at first, and a comparison norms them: its gradient in the
encoder is then hundreds of times the restoration's, and for long still several times. That is as published. Where
`--lr` is far above the published one, `--clip` keeps the first steps from blowing the weights up, and in a run too
short for restoration to catch up, `--comparison-weight` below 1 gives it a share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

import dali_cr

from ...networks.build import build_network
from ...run import ranks
from ...run.device import autocast
from ..method import Measured, Method
from .comparison import draw_levels
from .config import Pcrlv2Config
from .evaluation import evaluate_views
from .pyramid import Pyramid


class Pcrlv2(Method):
    """Restoration and comparison of views."""

    config: Pcrlv2Config
    recipe: dali_cr.Views
    module: Pyramid
    reported: tuple[str, ...] = ("restoration_gain", "explained", "spread")

    def __init__(self, config: Pcrlv2Config, channels: int) -> None:
        if ranks.share(config.batch_size) < 2:
            raise ValueError(
                f"batch_size: expected at least 2 samples for each of the {ranks.count()} processes (batch norm), "
                f"got {config.batch_size}"
            )
        network = build_network(config.network, channels, config.crop, config.filters, dims=config.dims, skips=False)
        module = Pyramid(network.module, channels, config.restoration_head)
        super().__init__(config, network, module)

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss of a batch, and its terms not weighted."""
        view, target, local = (batch[name] for name in ("view", "target", "local"))
        steps = self.config.steps
        assert steps is not None  # `with_steps` has set it
        levels = draw_levels(self.config.seed, step, 1 + 2 * local.shape[1], self.module.levels)
        with autocast(view.device):
            terms = self.module(view, target, local, levels)
        weights = {
            "restoration": 1.0,
            "comparison": self.config.comparison_weight,
            "restoration_of_level": fading(step, steps),
            "comparison_of_locals": self.config.comparison_weight,
        }
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure how well held-out views are restored, and whether their projections have collapsed."""
        device = next(self.module.parameters()).device
        found = evaluate_views(self.module, loader.stream(), self.config.evaluate_samples, device)
        gain = "undefined" if found.restoration_gain is None else f"{found.restoration_gain:.3f}"
        return Measured(
            numbers={
                "restoration_gain": found.restoration_gain,
                "explained": found.explained,
                "spread": min(found.spread),
                **{f"spread_of_level_{level}": value for level, value in enumerate(found.spread)},
            },
            said=f"restoration gain {gain}; spread of projections {' '.join(f'{one:.2f}' for one in found.spread)}",
            slices=found.slices,
        )

    def compiled(self) -> Iterable[nn.Module]:
        """Return the levels of the U-Net: which of them are computed changes from step to step."""
        parts: list[nn.Module] = self.module.unet.parts
        return parts

    def introduce(self) -> Iterator[str]:
        """Say what is trained."""
        recipe = self.recipe
        yield f"views      2 of {_by(recipe.shape)} voxels, {recipe.locals} of {_by(recipe.local_shape)}"
        once = ", each patch once" * self.config.each_patch_once
        yield f"swaps      {recipe.swap.iterations} a view, edges of {recipe.swap.patch} voxels{once}"
        heads = sum(parameter.numel() for parameter in self.module.parameters()) - self.network.parameters
        yield f"heads      {heads:,} parameters beside the network's, {self.config.restoration_head} restoration"


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def fading(step: int, steps: int) -> float:
    """Return beta, the weight of a level's restoration: from 1 at the first step to 0 at the last, along half a cosine.

    Examples
    --------
    >>> [round(fading(step, steps=5), 3) for step in (1, 2, 3, 4, 5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return 0.5 * (1 + math.cos(math.pi * (step - 1) / max(1, steps - 1)))
