"""The settings of a pre-training run, whatever its recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.volume.geometry import Triple

from ..data.split import Part
from ..run.config import MAY_CHANGE, Axis, RunSettings

RecipeName = Literal["restoration", "pcrlv2"]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunSettings, ABC):
    """Settings of every recipe, each of which has a class of its own. Triples are D H W, that is z y x."""

    recipe: RecipeName = field(init=False)
    """Follows from the class: ``--recipe`` chooses it."""
    part: Part = "pool"
    """The part of --split to take: weights that have seen val or test are refused by fine-tuning."""
    held_out: float = 0.1
    """Share of the cases to measure on and not to train on; at least one case."""

    crop: Triple
    spacing: tuple[float, float, float] | None = None
    iterations: int = 100
    patch: tuple[int, ...]
    """Edges of a patch in voxels: one number, lowest and highest, D H W, or lowest and highest of D, H and W."""
    each_patch_once: bool = False
    """No two patches of a sample overlap, so that every voxel moves at most once: few iterations, or small patches."""
    flips: tuple[Axis, ...] = ("W",)
    """Axes that may be flipped; give none where left and right differ."""
    foreground: float = 0.9
    """Probability that a crop is centred on foreground."""

    filters: int | None = None
    """Channels of the network's first level; if not given 16 of a dynunet, 32 of resenc-l, 8 of resenc-s and 64 of the
    others."""
    evaluate_samples: int = field(default=32, metadata=MAY_CHANGE)
    """Held-out samples to measure on."""

    counts: ClassVar[tuple[str, ...]] = (*RunSettings.counts, "filters", "evaluate_samples")

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if len(self.patch) not in (1, 2, 3, 6):
            raise ValueError(f"patch: expected 1, 2, 3 or 6 numbers, got {len(self.patch)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: expected a share between 0 and 1, got {self.held_out}")
        self.check_dims(self.crop)
        # Made now to be checked now: scanning the data may take long.
        self.samples()

    @abstractmethod
    def samples(self) -> dali_cr.Restoration | dali_cr.Views:
        """Return what samples are made of.

        Raises
        ------
        ValueError
            If the settings make no sample.
        """

    @property
    def swap(self) -> dali_cr.Swap:
        """How patches are swapped."""
        numbers = self.patch
        patch: Any = numbers[0] if len(numbers) == 1 else numbers
        if len(numbers) == 6:
            patch = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return dali_cr.Swap(iterations=self.iterations, patch=patch, overlap=not self.each_patch_once)

    def follow(self, earlier: PretrainConfig) -> PretrainConfig:
        """Return the settings of a resumed run, from its own with what was typed over them."""
        return self

    def with_steps(self, cases: int) -> PretrainConfig:
        """Return the settings with the number of steps, now that the cases to train on are known."""
        return self
