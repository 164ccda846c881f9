"""Context restoration as a method of pre-training, and what it is compared with.

Chen et al. (2019) swap patches and minimise the squared error of undoing it. `--pretext inpaint` erases boxes instead
(Pathak et al. 2016), `--pretext autoencode` changes nothing. `--pretext mae` masks blocks of a grid, and its loss is
that of the masked voxels alone (a masked autoencoder: He et al. 2022; in 3-D, with a U-Net: nnssl). Crops and network
are the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

import dali_cr
from dali_cr.recipe.restoration import Pretext
from dali_cr.volume.geometry import Triple

from ..networks.build import build_network, sizes_of
from ..networks.plans import read_levels
from ..run.config import MAY_CHANGE, Axis, PlanSettings, Scaling
from ..run.device import autocast
from .config import PretrainConfig, RecipeName
from .evaluation import evaluate
from .method import Measured, Method
from .presets import PresetName, describe


@dataclass(frozen=True, kw_only=True)
class RestorationConfig(PretrainConfig, PlanSettings):
    """Pre-train a network by context restoration, on a folder of volumes. Triples are D H W, that is z y x.

    PCRLv2 has other settings: --recipe pcrlv2 --help lists them.
    """

    recipe: RecipeName = field(init=False, default="restoration")
    preset: PresetName | None = None
    """Take the defaults of a published recipe; options that are given come before them. What is then still not as
    published is printed at the start."""
    pretext: Pretext = "swap"
    """What is to be undone: swap of patches; inpaint, erased boxes; autoencode, nothing; mae, masked blocks."""
    mask_ratio: float = 0.75
    """With --pretext mae: share of the blocks of a crop that are masked."""
    mask_block: tuple[int, ...] = (16,)
    """With --pretext mae: edge of a block in voxels, or its edges D H W."""
    crop: Triple = (64, 64, 64)
    """Voxels of a crop."""
    spacing: tuple[float, float, float] | None = None
    """Resample to voxels of so many mm; each file keeps its own if not given."""
    iterations: int = 100
    """Swaps of two patches in a crop, or boxes erased."""
    patch: tuple[int, ...] = (4, 16)
    """Edges of a patch in voxels: one number, lowest and highest, D H W, or lowest and highest of D, H and W."""
    slices: Axis | None = None
    """Crops are of slices across this axis, each visited once an epoch; --crop is 1 and the edges within a slice."""
    every: int = 1
    """With --slices: take every so many slices."""
    empty_slices: bool = False
    """With --slices: take those without any foreground too."""
    normalize: Scaling = "zscore"
    """How intensities are scaled; for CT for example: window -160 240."""

    skips: bool = False
    """Give the decoder the encoder's features of each level: what resenc-l and resenc-s do unless told otherwise, best
    before segmentation. Refused for a network that has no skips."""
    no_skips: bool = False
    """Give the decoder the coarsest features alone, so that the encoder must carry everything: best before
    classification. For resenc-l and resenc-s; refused for a network that has skips always."""

    batch_size: int = field(default=8, metadata=MAY_CHANGE)
    """Crops a step."""
    steps: int = field(default=10_000, metadata=MAY_CHANGE)
    """Steps to train."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        if len(self.mask_block) not in (1, 3):
            raise ValueError(f"mask_block: expected 1 or 3 numbers, got {len(self.mask_block)}")
        super().__post_init__()
        if not self.slices and (self.every != 1 or self.empty_slices):
            raise ValueError(f"slices: expected D, H or W with --every or --empty-slices, got {self.slices}")
        if self.skips and self.no_skips:
            raise ValueError("skips: expected one of --skips and --no-skips, got both")
        if not self.plans:
            sizes_of(self.network, 1, self.crop, self.filters, dims=self.dims, skips=self.with_skips)

    @property
    def with_skips(self) -> bool | None:
        """Whether the network is to have skips; None for its own way."""
        return True if self.skips else False if self.no_skips else None

    def samples(self) -> dali_cr.Restoration:
        """Return what samples are made of."""
        slices = None
        if self.slices:
            slices = dali_cr.Slices(self.slices, every=self.every, skip_empty=not self.empty_slices)
        return dali_cr.Restoration(
            crop=self.crop,
            swap=self.swap,
            flips=self.flips,
            normalize=None if self.normalize == "none" else self.normalize,
            foreground=self.foreground,
            pretext=self.pretext,
            slices=slices,
            spacing=self.spacing,
            mask_ratio=self.mask_ratio,
            mask_block=self.mask_block[0] if len(self.mask_block) == 1 else self.mask_block,  # type: ignore[arg-type]
        )


class Restoration(Method):
    """Undo what was done to a crop; the loss is the mean squared error over all of it, or over what was masked.

    Parameters
    ----------
    config : RestorationConfig
    channels : int
        Of a case.
    """

    config: RestorationConfig
    recipe: dali_cr.Restoration
    reported: tuple[str, ...] = ("restoration_gain", "mse", "psnr")

    def __init__(self, config: RestorationConfig, channels: int) -> None:
        levels = read_levels(config.plans, config.configuration, config.crop, config.dims) if config.plans else None
        network = build_network(
            config.network,
            channels,
            config.crop,
            config.filters,
            levels=levels,
            dims=config.dims,
            skips=config.with_skips,
        )
        super().__init__(config, network)
        if config.pretext == "mae":
            self.reported = ("r2", *self.reported)

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss, and that of returning the input."""
        target, input = batch["target"], batch["input"]
        with autocast(target.device):
            restored = self.module(input)
        errors = (mean_square(answer, target, batch.get("mask")) for answer in (restored.float(), input))
        return dict(zip(("loss", "loss_of_idling"), errors, strict=True))

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure the restoration gain, the squared error and the signal-to-noise ratio, with a mask R² too."""
        return evaluate(self.module, loader, self.config.evaluate_samples, self.recipe.pretext)

    def introduce(self) -> Iterator[str]:
        """Say what is trained."""
        config = self.config
        if config.preset:
            yield from describe(config.preset, vars(config))
        size = f" of {' × '.join(f'{mm:g}' for mm in config.spacing)} mm" if config.spacing else ""
        yield f"crop       {' × '.join(map(str, config.crop))} voxels{size}, normalize {config.normalize}"
        if config.slices:
            yield f"slices     across {config.slices}, every {config.every}"
        edges = f"{config.iterations} a crop, edges of {' '.join(map(str, config.patch))} voxels"
        edges += ", each patch once" * config.each_patch_once
        lines = {
            "swap": f"swaps      {edges}",
            "inpaint": f"erased     {edges}",
            "autoencode": "nothing    is changed: an autoencoder",
        }
        if grid := self.recipe.mask_grid:
            block = " × ".join(map(str, grid.block))
            lines["mae"] = f"masked     {grid.masked} of {math.prod(grid.blocks)} blocks of {block} voxels a crop"
        yield lines[config.pretext]


def mean_square(answer: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean squared error, of masked voxels where there is a mask.

    That is the mean over samples of each one's own: processes that share a batch get what one would.

    Parameters
    ----------
    answer, target : (B, C, D, H, W) or (B, C, H, W)
    mask : (B, 1, D, H, W) or (B, 1, H, W) bool, optional
        True for at least one voxel of each sample.
    """
    if mask is None:
        return F.mse_loss(answer, target)
    sums = (answer - target).square().where(mask, 0.0).flatten(1).sum(1)
    return (sums / (mask.flatten(1).sum(1) * target.shape[1])).mean()
