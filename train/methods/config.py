"""Settings that all pre-training recipes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.volume.geometry import Triple

from ..data.split.parts import PartOption
from ..run.config.data import DATA, MAY_CHANGE, Axis
from ..run.config.training import RunSettings
from .corpus import Corpus, read_corpus

RecipeName = Literal["restoration", "pcrlv2"]
MethodName = Literal["restoration", "pcrlv2", "position", "jigsaw"]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunSettings, ABC):
    """Base class of the settings of a recipe. Triples are D H W, that is z y x."""

    recipe: RecipeName = field(init=False)
    """Method: restoration (of crops, or a pretext on their tiles, see --pretext) or pcrlv2."""
    part: PartOption = "train"
    """Data: part of --split to train on. Fine-tuning rejects weights that were trained on cases of val or test."""
    corpus: Path | None = field(default=None, metadata=MAY_CHANGE)
    """Data: TOML or JSON file of several data sets, in place of --data, with path, pattern, weight, normalize, spacing,
    modality and licence of each."""
    held_out: float = 0.1
    """Evaluation: fraction of the cases that is held out for evaluation; at least one case."""

    crop: Triple
    spacing: tuple[float, float, float] | None = None
    iterations: int = 100
    patch: tuple[int, ...]
    """Pretext: edges of a patch in voxels: one number, minimum and maximum, D H W, or minimum and maximum of D, H and
    W."""
    each_patch_once: bool = False
    """Pretext: patches of a sample do not overlap, so every voxel moves at most once; needs few or small patches."""
    flips: tuple[Axis, ...] = ("W",)
    """Augmentation: axes along which samples are flipped at random; give no axis if left and right must stay
    distinct."""
    foreground: float = 0.9
    """Sampling: probability that a crop is centred on a foreground voxel."""

    filters: int | None = None
    """Network: channels of the first level; by default 16 for dynunet, 32 for resenc-l, 8 for resenc-s and 64 for the
    others."""
    evaluate_samples: int = field(default=32, metadata=MAY_CHANGE)
    """Evaluation: number of held-out samples."""

    counts: ClassVar[tuple[str, ...]] = (*RunSettings.counts, "filters", "evaluate_samples")

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if len(self.patch) not in (1, 2, 3, 6):
            raise ValueError(f"patch: expected 1, 2, 3 or 6 numbers, got {len(self.patch)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"--held-out: expected a fraction between 0 and 1, got {self.held_out}")
        self.check_dims(self.crop)
        self._check_patch()
        # Check the recipe before the data are scanned, which may take long.
        self.samples()

    def _check_patch(self) -> None:
        """Raise ValueError, naming the options, unless patches fit into the crop."""
        swap = replace(self.swap, overlap=True)
        if not self.has_patches or min(self.crop) < 1:
            return
        try:
            swap.check(self.crop)
        except ValueError as error:
            usual: Any = next(one.default for one in fields(self) if one.name == "patch")
            default, crop = (" ".join(map(str, numbers)) for numbers in (usual, self.crop))
            most = max(1, min([max(self.crop) // 2, *(edge for edge in self.crop if edge > 1)]))
            raise ValueError(
                f"--{error}. --patch is {default} by default: with --crop {crop} use edges of at most {most}, such as "
                f"--patch {min(self.patch[0], most)} {most}, or give a larger --crop"
            ) from error

    def check_data(self) -> None:
        """Raise ValueError unless there is exactly one of --corpus and --data or --index."""
        if self.corpus is None:
            super().check_data()
            return
        defaults = {one.name: one.default for one in fields(self)}
        if both := [name for name in DATA if getattr(self, name) != defaults[name]]:
            raise ValueError(
                f"corpus: expected no --{both[0].replace('_', '-')} with --corpus, got both; write it into the file"
            )

    @cached_property
    def datasets(self) -> Corpus | None:
        """Content of --corpus; None without it."""
        return read_corpus(self.corpus) if self.corpus else None

    def per_dataset(self, name: Literal["normalize", "spacing"], default: Any) -> Any:
        """Return a field of the recipe, by data set if the values differ."""
        return self.datasets.values(name, default) if self.datasets else default

    @abstractmethod
    def samples(self) -> dali_cr.Restoration | dali_cr.Views:
        """Return the recipe of samples.

        Raises
        ------
        ValueError
            If the settings give no valid recipe.
        """

    @property
    def method(self) -> MethodName:
        """Name of the method."""
        return self.recipe

    @property
    def has_patches(self) -> bool:
        """Whether samples have patches, so that --patch has an effect."""
        return True

    @property
    def swap(self) -> dali_cr.Swap:
        """The parameters of patch swapping."""
        numbers = self.patch
        patch: Any = numbers[0] if len(numbers) == 1 else numbers
        if len(numbers) == 6:
            patch = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return dali_cr.Swap(iterations=self.iterations, patch=patch, overlap=not self.each_patch_once)

    def follow(self, earlier: PretrainConfig) -> PretrainConfig:
        """Return the settings of a resumed run, derived from those given; `earlier` are its stored settings."""
        return self

    def with_steps(self, cases: int) -> PretrainConfig:
        """Return the settings with the number of steps for this number of training cases."""
        return self
