"""PCRLv2: restore a corrupted view at two scales, with contrastive losses to another global view and to local views.

::

    python -m train.pretrain --recipe pcrlv2 --data scans/ --normalize window -1000 1000 --out runs/pcrlv2
    python -m train.pretrain --recipe pcrlv2 --data images/ --pattern "**/*.png" --dims 2 --crop 1 224 224 \
        --sizes 1 224 224 1 288 288 1 360 360 --local-crop 1 96 96 --local-sizes 1 64 64 1 96 96 1 128 128 \
        --patch 1 16 16 --out runs/pcrlv2-us
    python -m train.pretrain --preset pcrlv2-2d --data radiographs/ --pattern "**/*.png" --out runs/pcrlv2-chest

The second command trains on 2-D images, or on single slices of volumes across D, with the same views and network in
2-D. The third has the transforms of the public 2-D code, for grey images.

The loss is that of the public code (RL4M/PCRLv2, ``train_3d.py``)::

    L = MSE(restored, target) + D(view 1, view 2; k) + beta(e) MSE(restored at level k, target)
        + 1 / (2 V) sum_v (D(view 1, local v; k'_v) + D(view 2, local v; k''_v))

Each k is uniform over the decoder levels (three, of `resnet18` five), and beta falls from 1 to 0 along half a cosine.
Differences to the public code:

* beta reaches 0 at the end of the run (there: after 240 epochs) and changes with every step (there: every epoch), as
  does the learning rate;
* levels are drawn from the seed;
* the decoder stops at the deepest drawn level, and a head that was not drawn is not updated (there: its momentum goes
  on).

As there, only view 1 is restored, and SGD has the same momentum and, by default, the same learning rate, weight decay
and batch size, no warm-up and no gradient clipping. The weights and epochs given in the paper itself are not known to
us.

At first, averages over whole views differ little between samples, and batch norm amplifies their differences: the
contrastive gradient in the encoder is then hundreds of times that of restoration, and stays several times larger for
long, as in the public code. With a learning rate far above the published one, use `--clip` to keep the first steps from
diverging; in short runs, use a `--comparison-weight` below 1.
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
from ..presets import describe
from .config import Pcrlv2Config
from .contrastive import draw_levels
from .evaluation import evaluate_views
from .pyramid import Pyramid


class Pcrlv2(Method):
    """Restoration of views with contrastive losses between them."""

    config: Pcrlv2Config
    recipe: dali_cr.Views
    module: Pyramid
    reported: tuple[str, ...] = ("restoration_gain", "r2", "collapse_metric")

    def __init__(self, config: Pcrlv2Config, channels: int) -> None:
        if ranks.share(config.batch_size) < 2:
            raise ValueError(
                f"--batch-size: expected at least 2 samples for each of the {ranks.count()} processes (batch norm), "
                f"got {config.batch_size}"
            )
        network = build_network(config.network, channels, config.crop, config.filters, dims=config.dims, skips=False)
        linear = config.standardize != "zscore"
        module = Pyramid(network.module, channels, config.restoration_head, linear=linear)
        super().__init__(config, network, module)

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss of a batch, and its unweighted terms."""
        view, target, local = (batch[name] for name in ("view", "target", "local"))
        steps = self.config.steps
        assert steps is not None  # `with_steps` has set it
        levels = draw_levels(self.config.seed, step, 1 + 2 * local.shape[1], self.module.levels)
        with autocast(view.device):
            terms = self.module(view, target, local, levels)
        weights = {
            "restoration": 1.0,
            "contrastive": self.config.comparison_weight,
            "restoration_of_level": fading(step, steps),
            "contrastive_local": self.config.comparison_weight,
        }
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure the restoration of held-out views and the collapse metric of their projections."""
        device = next(self.module.parameters()).device
        found = evaluate_views(self.module, loader.stream(), self.config.evaluate_samples, device)
        gain = "undefined" if found.restoration_gain is None else f"{found.restoration_gain:.3f}"
        return Measured(
            numbers={
                "restoration_gain": found.restoration_gain,
                "r2": found.r2,
                "collapse_metric": min(found.collapse_metric),
                **{f"collapse_metric_level_{level}": value for level, value in enumerate(found.collapse_metric)},
            },
            text=f"restoration gain {gain}; collapse metric {' '.join(f'{one:.2f}' for one in found.collapse_metric)}",
            slices=found.slices,
        )

    def compiled(self) -> Iterable[nn.Module]:
        """Return the modules of the U-Net one by one, since each step computes a different set of them."""
        parts: list[nn.Module] = self.module.unet.parts
        return parts

    def introduce(self) -> Iterator[str]:
        """Yield lines about the preset, the views, the swaps and holes, and the heads."""
        recipe = self.recipe
        if self.config.preset:
            yield from describe(self.config.preset, vars(self.config))
        yield f"views      2 of {_by(recipe.shape)} voxels, {recipe.locals} of {_by(recipe.local_shape)}"
        if recipe.swap.iterations:
            once = ", each patch once" * self.config.each_patch_once
            edges = " ".join(map(str, self.config.patch))
            yield f"swaps      {recipe.swap.iterations} a view, edges of {edges} voxels{once}"
        if recipe.cutout:
            yield f"cutout     {recipe.cutout[0]} holes a view, edges of {recipe.cutout[1]} voxels"
        heads = sum(parameter.numel() for parameter in self.module.parameters()) - self.network.parameters
        yield f"heads      {heads:,} more parameters, --restoration-head {self.config.restoration_head}"


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def fading(step: int, steps: int) -> float:
    """Return beta, the weight of a level's restoration: half a cosine from 1 at the first step to 0 at the last.

    Examples
    --------
    >>> [round(fading(step, steps=5), 3) for step in (1, 2, 3, 4, 5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return 0.5 * (1 + math.cos(math.pi * (step - 1) / max(1, steps - 1)))
