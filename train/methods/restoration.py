"""Pre-training by context restoration (Chen et al. 2019), inpainting, masked autoencoding or autoencoding.

The settings are also those of the pretexts on tiles, see `train.methods.tiles`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

import dali_cr
from dali_cr.recipe.augment import NO_SCALE
from dali_cr.recipe.restoration import Pretext
from dali_cr.volume.geometry import Triple

from ..networks.build import build_network, sizes_of
from ..networks.network import Network
from ..networks.plans import read_levels
from ..run.config.affine import AffineSettings
from ..run.config.data import MAY_CHANGE, Axis, Scaling
from ..run.config.plans import PlanSettings
from ..run.device import autocast
from .config import MethodName, PretrainConfig, RecipeName
from .evaluation import evaluate
from .method import Measured, Method
from .presets import RestorationPreset, describe
from .tiles.config import PretextName, TileSettings, check_options
from .tiles.tiling import Tiling


@dataclass(frozen=True, kw_only=True)
class RestorationConfig(AffineSettings, TileSettings, PretrainConfig, PlanSettings):
    """Pre-train a network by context restoration on a folder of volumes. Triples are D H W, that is z y x.

    For the settings of PCRLv2 see --recipe pcrlv2 --help.
    """

    recipe: RecipeName = field(init=False, default="restoration")
    preset: RestorationPreset | None = None
    """Pretext: use the settings of a published recipe as defaults; other options override them. Remaining differences
    to the recipe are printed at the start."""
    pretext: PretextName = "swap"
    """Pretext: corruption to undo: swap (swapped patches), inpaint (erased boxes), mae (masked blocks), autoencode
    (none). Or class to predict from tiles of the crop, by the encoder alone: position (of one tile relative to
    another), jigsaw (the order of all tiles)."""
    mask_ratio: float = 0.75
    """Pretext: with --pretext mae, fraction of the blocks of a crop that is masked."""
    mask_block: tuple[int, ...] = (16,)
    """Pretext: with --pretext mae, edge of a block in voxels, or its edges D H W."""
    crop: Triple = (64, 64, 64)
    """Sampling: voxels of a crop."""
    spacing: tuple[float, float, float] | None = None
    """Sampling: resample to this voxel size in mm; by default each file keeps its own."""
    iterations: int = 100
    """Pretext: number of swaps of two patches, or of erased boxes, in a crop."""
    patch: tuple[int, ...] = (4, 16)
    """Pretext: edges of a patch in voxels: one number, minimum and maximum, D H W, or minimum and maximum of D, H and
    W."""
    slices: Axis | None = None
    """Sampling: crop slices across this axis, each visited once per epoch; --crop is 1 and the edges within a slice."""
    every: int = 1
    """Sampling: with --slices, use every N-th slice."""
    empty_slices: bool = False
    """Sampling: with --slices, also use slices without foreground."""
    normalize: Scaling = "zscore"
    """Intensities: normalisation; for CT for example window -160 240."""

    skips: bool = False
    """Network: pass the encoder's features of each level to the decoder, for segmentation (as in nnssl's MAE); the
    default of resenc-l and resenc-s, an error for networks without skips."""
    no_skips: bool = False
    """Network: pass only the coarsest features to the decoder, for classification (as in PCRLv2); for resenc-l and
    resenc-s, an error for networks that always have skips."""

    batch_size: int = field(default=8, metadata=MAY_CHANGE)
    """Training: crops per step."""
    steps: int = field(default=10_000, metadata=MAY_CHANGE)
    """Training: number of steps."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        if len(self.mask_block) not in (1, 3):
            raise ValueError(f"--mask-block: expected 1 or 3 numbers, got {len(self.mask_block)}")
        super().__post_init__()
        if not self.slices and (self.every != 1 or self.empty_slices):
            raise ValueError("slices: expected --slices D, H or W with --every or --empty-slices, got no --slices")
        if self.skips and self.no_skips:
            raise ValueError("--skips: expected one of --skips and --no-skips, got both")
        check_options(self)
        self.tiling  # noqa: B018 - raises if tiles do not fit into the crop
        if not self.plans:
            sizes_of(self.network, 1, self.crop, self.filters, dims=self.dims, skips=self.with_skips)

    @property
    def with_skips(self) -> bool | None:
        """Whether the network has skips; None for its default."""
        return True if self.skips else False if self.no_skips else None

    @property
    def has_patches(self) -> bool:
        """Whether samples have patches, so that --patch has an effect."""
        return self.pretext in ("swap", "inpaint")

    @property
    def method(self) -> MethodName:
        """Name of the method: restoration, position or jigsaw."""
        return self.pretext if self.pretext == "position" or self.pretext == "jigsaw" else "restoration"

    @cached_property
    def tiling(self) -> Tiling | None:
        """Tiles of a crop; None for restoration."""
        return self.find_tiling(self.pretext, self.crop)

    @property
    def corruption(self) -> Pretext:
        """Pretext of the samples: with tiles, crops are unchanged."""
        return "autoencode" if self.pretext == "position" or self.pretext == "jigsaw" else self.pretext

    def samples(self) -> dali_cr.Restoration:
        """Return the recipe of samples."""
        slices = None
        if self.slices:
            slices = dali_cr.Slices(self.slices, every=self.every, skip_empty=not self.empty_slices)
        return dali_cr.Restoration(
            crop=self.crop,
            swap=self.swap,
            flips=self.flips,
            normalize=self.per_dataset("normalize", None if self.normalize == "none" else self.normalize),
            foreground=self.foreground,
            pretext=self.corruption,
            slices=slices,
            spacing=self.per_dataset("spacing", self.spacing),
            mask_ratio=self.mask_ratio,
            **self.augmentation,
            mask_block=self.mask_block[0] if len(self.mask_block) == 1 else self.mask_block,  # type: ignore[arg-type]
        )

    def describe_crops(self) -> Iterator[str]:
        """Yield lines about the preset and the crops."""
        if self.preset:
            yield from describe(self.preset, vars(self))
        crop = f"crop       {' × '.join(map(str, self.crop))} voxels"
        if self.datasets:
            yield crop  # the rest is printed for each data set
        else:
            size = f" of {' × '.join(f'{mm:g}' for mm in self.spacing)} mm" if self.spacing else ""
            yield f"{crop}{size}, normalize {self.normalize}"
        if self.slices:
            yield f"slices     across {self.slices}, every {self.every}"
        if self.augments:
            yield f"augment    {', '.join(self.augments)}, each with probability {self.augment_probability:g}"


def network_of(config: RestorationConfig, channels: int) -> Network:
    """Build the network for the crops of a run."""
    levels = read_levels(config.plans, config.configuration, config.crop, config.dims) if config.plans else None
    return build_network(
        config.network,
        channels,
        config.crop,
        config.filters,
        levels=levels,
        dims=config.dims,
        skips=config.with_skips,
    )


def without_augmentation(recipe: dali_cr.Restoration) -> dali_cr.Restoration:
    """Return a recipe without augmentation, so that runs can be compared on held-out samples."""
    return replace(recipe, degrees=0.0, scale=NO_SCALE, noise=0.0, gamma=0.0)


class Restoration(Method):
    """Restoration of a corrupted crop; the loss is the mean squared error over all or over masked voxels.

    Parameters
    ----------
    config : RestorationConfig
    channels : int
        Channels of a case.
    """

    config: RestorationConfig
    recipe: dali_cr.Restoration
    reported: tuple[str, ...] = ("restoration_gain", "mse", "psnr")

    def __init__(self, config: RestorationConfig, channels: int) -> None:
        super().__init__(config, network_of(config, channels))
        if config.pretext == "mae":
            self.reported = ("r2", *self.reported)

    @property
    def held_out_recipe(self) -> dali_cr.Restoration:
        """Recipe of held-out samples, without augmentation."""
        return without_augmentation(self.recipe)

    def losses(self, batch: dict[str, Any], step: int) -> dict[str, torch.Tensor]:
        """Return the loss, and for comparison the loss of returning the input."""
        target, input = batch["target"], batch["input"]
        with autocast(target.device):
            restored = self.module(input)
        where = counted_voxels(batch)
        errors = (mean_square(answer, target, where) for answer in (restored.float(), input))
        return dict(zip(("loss", "identity_loss"), errors, strict=True))

    def measure(self, loader: dali_cr.Loader) -> Measured:
        """Measure restoration gain, MSE, PSNR, and with a mask R²."""
        return evaluate(self.module, loader, self.config.evaluate_samples, self.recipe.pretext)

    def introduce(self) -> Iterator[str]:
        """Yield lines about the crops and the pretext."""
        config = self.config
        yield from config.describe_crops()
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
        yield lines[config.corruption]


def counted_voxels(batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return a mask of the voxels in the loss: masked, not anonymised; None for all voxels."""
    mask, valid = batch.get("mask"), batch.get("valid")
    return mask & valid if mask is not None and valid is not None else valid if mask is None else mask


def mean_square(answer: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean squared error, over some voxels if there is a mask.

    With a mask it is the mean over samples of their errors, so that it does not depend on the number of processes.

    Parameters
    ----------
    answer, target : (B, C, D, H, W) or (B, C, H, W)
    mask : (B, 1, D, H, W) or (B, 1, H, W) bool, optional
        Voxels to include; the error of a sample without any is 0.
    """
    if mask is None:
        return F.mse_loss(answer, target)
    sums = (answer - target).square().where(mask, 0.0).flatten(1).sum(1)
    return (sums / (mask.flatten(1).sum(1).clamp(min=1) * target.shape[1])).mean()
