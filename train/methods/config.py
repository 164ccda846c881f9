"""The settings of a pre-training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.recipe.restoration import Pretext

from ..data.split import Part
from ..networks.build import sizes_of
from ..run.config import Axis, RunSettings, Scaling

RecipeName = Literal["restoration", "pcrlv2"]

FIXED = (
    *("recipe", "held_out", "pretext", "crop", "iterations", "patch", "flips", "normalize", "foreground"),
    *("spacing", "slices", "every", "empty_slices", "network", "dims", "filters", "plans", "configuration", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class Config(RunSettings):
    """Pre-train a network without labels, on a folder of volumes. Triples are D H W, that is z y x."""

    recipe: RecipeName = "restoration"
    """How: context restoration, or PCRLv2, whose settings `--recipe pcrlv2 --help` lists."""
    part: Part = "pool"
    """The part of --split to take: weights that have seen val or test are refused by fine-tuning."""
    held_out: float = 0.1
    """Share of the cases to measure on and not to train on; at least one case."""

    pretext: Pretext = "swap"
    """What is to be undone: patches that were swapped, or boxes that were erased; or nothing (an autoencoder)."""
    crop: tuple[int, int, int] = (64, 64, 64)
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
    flips: tuple[Axis, ...] = ("W",)
    """Axes that may be flipped; give none where left and right differ."""
    normalize: Scaling = "zscore"
    """How intensities are scaled; for CT for example: window -160 240."""
    foreground: float = 0.9
    """Probability that a crop is centred on foreground."""

    filters: int | None = None
    """Channels of the network's first level; 16 of a dynunet and 64 of the others if not given."""
    batch_size: int = 8
    """Crops a step."""
    steps: int = 10_000
    """Steps to train."""
    evaluate_every: int | None = None
    """Steps between measurements on the held-out cases; a tenth of all, but at least 100, if not given."""
    evaluate_samples: int = 32
    """Held-out crops to measure on."""

    counts: ClassVar[tuple[str, ...]] = (*RunSettings.counts, "filters", "evaluate_every", "evaluate_samples")
    method: ClassVar[RecipeName] = "restoration"
    """The recipe that has these settings."""
    fixed: ClassVar[tuple[str, ...]] = FIXED
    """Settings that a resumed run must not change: it would be another one. The rest, the length say, it may."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.recipe != self.method:
            raise ValueError(f"recipe: wanted {self.method} for a {type(self).__name__}, got {self.recipe}")
        if len(self.patch) not in (1, 2, 3, 6):
            raise ValueError(f"patch: wanted 1, 2, 3 or 6 numbers, got {len(self.patch)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: wanted a share between 0 and 1, got {self.held_out}")
        if not self.slices and (self.every != 1 or self.empty_slices):
            raise ValueError(f"slices: wanted D, H or W with --every or --empty-slices, got {self.slices}")
        self.check_dims(self.crop)
        # Made now to be checked now: scanning the data may take long.
        self.samples()
        if not self.plans:
            sizes_of(self.network, 1, self.crop, self.filters, dims=self.dims)

    def samples(self) -> dali_cr.Restoration | dali_cr.Views:
        """Return what samples are made of.

        Raises
        ------
        ValueError
            If the settings make no sample.
        """
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
        )

    @property
    def swap(self) -> dali_cr.Swap:
        """How patches are swapped."""
        numbers = self.patch
        patch: Any = numbers[0] if len(numbers) == 1 else numbers
        if len(numbers) == 6:
            patch = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return dali_cr.Swap(iterations=self.iterations, patch=patch)

    def follow(self, earlier: Config) -> Config:
        """Return the settings of a resumed run, from its own with what was typed over them."""
        return self

    def with_steps(self, cases: int) -> Config:
        """Return the settings with the number of steps, now that the cases to train on are known."""
        return self
