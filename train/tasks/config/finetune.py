"""Settings that all fine-tuning tasks share; defaults are project choices."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.recipe.augment import NO_SCALE
from dali_cr.recipe.checks import check_spacing
from dali_cr.volume.grid import Spacing

from ...data.labels import Unmatched
from ...run.config.affine import AffineSettings
from ...run.config.data import MAY_CHANGE, Axis, Scaling
from ...run.config.plans import PlanSettings
from ..task import TaskInput
from ..transfer import Init, Transfer


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(AffineSettings, PlanSettings, ABC):
    """Settings of all tasks. Triples are D H W, that is z y x."""

    task: ClassVar[str]

    labels: Path = field(metadata=MAY_CHANGE)
    """Labels: folder of label volumes, or a CSV file whose first column names the case."""
    unmatched: Unmatched = field(default="refuse", metadata=MAY_CHANGE)
    """Labels: whether images without a label, or labels without an image, are an error (refuse) or excluded (leave)."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Data: fractions of the subjects for train, val and test in a random split, without --split."""
    cases: int | None = None
    """Data: number of labelled cases of train to train on, drawn by --order-seed; by default all."""
    order_seed: int = 0
    """Data: seed of the order of cases and of a random split."""

    init: str = field(default="random", metadata=MAY_CHANGE)
    """Initialisation: folder of a pre-training run, file of weights (.safetensors, or a state dict of torch.save), or
    random. Weights of other packages have no metadata: give --network, --filters, --topology, --normalize and
    --spacing of their training, otherwise the defaults for random weights apply."""
    prefix: str = ""
    """Initialisation: with --init FILE, use only tensors whose names begin with this prefix, and remove the prefix."""
    transfer: Transfer = "encoder"
    """Initialisation: weights to transfer from --init. The head is always new."""
    like: str | None = None
    """Initialisation: if the --init run had several data sets, the one whose normalisation and spacing to use."""
    filters: int | None = None
    """Network: channels of the first level; by default those of --init, or 16 for dynunet, 32 for resenc-l, 8 for
    resenc-s and 64 for the others."""
    topology: tuple[int, int, int] | None = None
    """Network: crop that determines the number of levels; by default that of --init, or --crop."""

    crop: tuple[int, int, int] | None = None
    """Sampling: voxels of a crop; by default those of --init, or 64 64 64."""
    spacing: Literal["own"] | tuple[float, float, float] | None = None
    """Sampling: resample to this voxel size in mm, or own to keep that of each file; by default that of --init, or own.
    Predictions and scores are always on the files' own grids."""
    flips: tuple[Axis, ...] = ()
    """Augmentation: axes along which images and labels are flipped at random; omit W if left and right are classes."""
    normalize: Scaling | None = None
    """Intensities: normalisation; by default that of --init, or zscore."""
    rotate: float = 0.0
    """Augmentation: rotate images and labels about each axis by up to this angle in degrees; 0 is off, nnU-Net uses 30.
    Not for localize, since the box around a rotated box is too large."""
    scale: tuple[float, float] = NO_SCALE
    """Augmentation: scale images and labels by a factor from LOW to HIGH; 1 1 is off, nnU-Net uses 0.7 1.4. Not for
    localize."""
    gamma: float = 0.0
    """Augmentation: apply a gamma to images, with an absolute logarithm of the exponent up to this value; 0 is off, 0.4
    is close to nnU-Net's exponents of 0.7 to 1.5."""
    noise: float = 0.0
    """Augmentation: add Gaussian noise to normalised images, with a standard deviation up to this value; 0 is off,
    nnU-Net uses up to 0.3 for z-scores."""
    augment_probability: float = 0.2
    """Augmentation: probability of each of rotation, scaling, gamma and noise, independently."""

    freeze_encoder: int = field(default=0, metadata=MAY_CHANGE)
    """Optimiser: number of first steps with a frozen encoder, including its norms. They and the remaining steps have
    separate learning-rate schedules, each with a warm-up."""
    encoder_lr_scale: float = 1.0
    """Optimiser: factor of the learning rate for the encoder."""

    batch_size: int = field(default=4, metadata=MAY_CHANGE)
    """Training: crops of a batch; a step is --accumulate batches."""
    steps: int = field(default=1000, metadata=MAY_CHANGE)
    """Training: number of steps."""
    evaluate_cases: int = field(default=8, metadata=MAY_CHANGE)
    """Evaluation: number of cases of val during training."""
    score: Literal["test", "val"] = field(default="test", metadata=MAY_CHANGE)
    """Evaluation: part to score the last weights on: val to choose settings, test for the final result."""

    counts: ClassVar[tuple[str, ...]] = (*PlanSettings.counts, "cases", "filters", "evaluate_cases")
    measurements: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        self._check_encoder()
        if self.crop:
            self.check_dims(self.crop)
        if self.spacing != "own":
            check_spacing(self.spacing)
        if self.plans and self.init != "random" and not Path(self.init).is_file():
            raise ValueError(f"plans: expected no --plans with --init, which defines the network; got {self.plans}")
        if self.init == "random" and self.transfer != "encoder":
            raise ValueError(
                f"transfer: expected --init with the run to transfer from, got {self.transfer} from random"
            )
        if self.init != "random" and self.encoder_weights != "random":
            raise ValueError(
                f"--encoder-weights: expected random with --init, which has weights of the encoder; got "
                f"{self.encoder_weights}; give one of them"
            )
        if self.init == "random" and self.prefix:
            raise ValueError(f"prefix: expected --init with a file of weights, got {self.prefix!r} with random")

    def _check_encoder(self) -> None:
        """Raise ValueError if the encoder's settings contradict each other."""
        scale = self.encoder_lr_scale
        if not 0 <= self.freeze_encoder <= self.steps:
            raise ValueError(
                f"--freeze-encoder: expected from 0 to the {self.steps} steps of the run, got {self.freeze_encoder}"
            )
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(
                f"--encoder-lr-scale: expected a number above 0, got {scale}; to train no encoder, give "
                f"--freeze-encoder {self.steps}"
            )
        if self.freeze_encoder == self.steps and scale != 1:
            raise ValueError(
                f"--encoder-lr-scale: expected no value with an encoder frozen for all {self.steps} steps, got "
                f"{scale}; lower --freeze-encoder"
            )

    def check_past(self, was: Mapping[str, Any], step: int) -> None:
        """Check that the steps with a frozen encoder have not changed once there are steps without it."""
        before = was.get("freeze_encoder", 0)
        if before != self.freeze_encoder and step > min(before, self.freeze_encoder):
            raise ValueError(
                f"resume: expected --freeze-encoder {before}, since step {step} of the run in {self.out} is taken, "
                f"got {self.freeze_encoder}; give another --out to start a new run"
            )

    @property
    def encoder_setting(self) -> str:
        """The option that is specific to the encoder's weights; empty if none is given."""
        if self.freeze_encoder:
            return "--freeze-encoder"
        return "--encoder-lr-scale" if self.encoder_lr_scale != 1 else ""

    def describe_optimizer(self) -> str:
        """Describe the optimiser and its schedule."""
        parts = [super().describe_optimizer()]
        if self.freeze_encoder:
            parts.append(f"encoder frozen for {self.freeze_encoder} steps")
        if self.encoder_lr_scale != 1:
            parts.append(f"{self.encoder_lr_scale:g} × the learning rate in the encoder")
        return ", ".join(parts)

    def view(self, init: Init | None) -> TaskInput:
        """Return the input settings of the network."""
        self._check_like(init)
        normalize: Any = "zscore"
        if self.normalize is not None:
            normalize = None if self.normalize == "none" else self.normalize
        elif init and "normalize" in init.recipe:
            normalize = self._of_dataset(init, "normalize")
        crop = self.crop or (init.crop if init else None) or (64, 64, 64)
        self.check_dims(crop)
        shrink = getattr(self, "shrink", (1, 1, 1))
        return TaskInput(
            crop=crop,
            normalize=normalize,
            shrink=shrink,
            batch_size=self.batch_size,
            spacing=self._spacing(init),
            dims=self.dims,
        )

    def _spacing(self, init: Init | None) -> Spacing | None:
        """Return the spacing to resample cases to."""
        if self.spacing == "own":
            return None
        found: Spacing | None = self.spacing or (self._of_dataset(init, "spacing") if init else None)
        return found

    def _of_dataset(self, init: Init, name: str) -> Any:
        """Return a field of a pre-training run's recipe, for the data set --like if it had several.

        Raises
        ------
        ValueError
            If it had several and --like is not given.
        """
        kept = init.recipe.get(name)
        if isinstance(kept, dict):
            if self.like is None:
                raise ValueError(
                    f"{name}: expected --like with one of the data sets {', '.join(kept)}, whose {name} differs in "
                    f"{init.path}; or give --{name}"
                )
            kept = kept[self.like]
        return tuple(kept) if isinstance(kept, list) else kept

    def _check_like(self, init: Init | None) -> None:
        """Raise ValueError unless --like is a data set of the pre-training run."""
        if self.like is None:
            return
        known = [one["name"] for one in init.about.get("datasets", []) if one["name"]] if init else []
        if self.like not in known:
            there = f"one of the data sets {', '.join(known)}" if known else "an --init run of several data sets"
            raise ValueError(f"like: expected {there}, got {self.like}")

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on a labelled voxel."""
        return 0.0

    @property
    def augmentation(self) -> dict[str, Any]:
        """Augmentation fields of `dali_cr.Restoration`."""
        own = {"noise": self.noise, "gamma": self.gamma, "intensity_probability": self.augment_probability}
        return super().augmentation | own

    @property
    def augments(self) -> list[str]:
        """Descriptions of the augmentations of crops."""
        gamma = [f"gamma of e^±{self.gamma:g}"] * (self.gamma > 0)
        return [*super().augments, *gamma, *[f"noise of up to {self.noise:g}"] * (self.noise > 0)]

    def samples(self, view: TaskInput) -> dali_cr.Restoration:
        """Return the recipe of crops, without swaps."""
        return dali_cr.Restoration(
            crop=view.crop,
            swap=dali_cr.Swap(iterations=0),
            flips=view.flips(self.flips),
            normalize=view.normalize,
            foreground=self.foreground_share,
            spacing=view.spacing,
            **self.augmentation,
        )
