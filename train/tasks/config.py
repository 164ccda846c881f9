"""The settings of a fine-tuning run: those of every task, and those of each.

What Chen et al. (2019) trained with is not known to us: every default here is a project choice.
"""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from dali_cr.index.scan import EVERY_VOLUME
from dali_cr.recipe.checks import check_spacing
from dali_cr.volume.grid import Spacing

from ..data.labels import Unmatched
from ..run.config import MAY_CHANGE, Axis, PlanSettings, Scaling
from .segment import Absent
from .task import TaskInput
from .transfer import Init, Transfer


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(PlanSettings, ABC):
    """Settings of every task. Triples are D H W, that is z y x."""

    task: ClassVar[str]

    labels: Path = field(metadata=MAY_CHANGE)
    """What is true of them: a folder of label volumes, or a CSV file whose first column names the case."""
    unmatched: Unmatched = field(default="refuse", metadata=MAY_CHANGE)
    """What to do about an image without a label, or a label without an image."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Without --split, which is drawn at random then: shares of the subjects for pool, val and test."""
    cases: int | None = None
    """Train on the first so many labelled cases of the pool, in an order drawn from --order-seed; on all without."""
    order_seed: int = 0
    """Of that order, and of a split that is drawn."""

    init: str = field(default="random", metadata=MAY_CHANGE)
    """The folder of a pre-training run, a file of weights (.safetensors, or a state dict of torch.save), or random. A
    file of another package does not say how it was trained: give --network, --filters, --topology, --normalize and
    --spacing as they were, else the defaults of random weights hold."""
    prefix: str = field(default="", metadata=MAY_CHANGE)
    """With --init FILE: take only tensors whose names begin with this, and cut it off."""
    transfer: Transfer = "encoder"
    """What is taken over from it. The head is always new."""
    filters: int | None = None
    """Channels of the network's first level: those of --init; without one, 16 of a dynunet, 32 of resenc-l, 8 of
    resenc-s and 64 of the others."""
    topology: tuple[int, int, int] | None = None
    """The crop that the network's levels are made for: that of --init, or --crop without one."""

    crop: tuple[int, int, int] | None = None
    """Voxels of a crop: those of --init, 64 64 64 without one."""
    spacing: Literal["own"] | tuple[float, float, float] | None = None
    """Resample to voxels of so many mm, or own: each file keeps its own. As for --init, own without one. What is
    predicted and scored lies on the files' own grids."""
    flips: tuple[Axis, ...] = ()
    """Axes that may be flipped, image and labels alike; never W where left and right are classes."""
    normalize: Scaling | None = None
    """How intensities are scaled: as for --init, zscore without one."""

    freeze_encoder: int = field(default=0, metadata=MAY_CHANGE)
    """Steps, from the first, in which the encoder is not trained, nor the statistics of its norms; then the learning
    rate warms up again, for all weights."""
    encoder_lr_scale: float = 1.0
    """The encoder's learning rate, as a multiple of that of the other weights."""

    batch_size: int = field(default=4, metadata=MAY_CHANGE)
    """Crops a batch; a step is --accumulate of them."""
    steps: int = field(default=1000, metadata=MAY_CHANGE)
    """Steps to train."""
    evaluate_cases: int = field(default=8, metadata=MAY_CHANGE)
    """Cases of val to measure on."""
    score: Literal["test", "val"] = field(default="test", metadata=MAY_CHANGE)
    """Which part the last weights are scored on: val to choose settings by, test when they are chosen."""

    counts: ClassVar[tuple[str, ...]] = (*PlanSettings.counts, "cases", "filters", "evaluate_cases")
    measurements: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        self._check_encoder()
        if self.crop:
            self.check_dims(self.crop)
        if self.spacing != "own":
            check_spacing(self.spacing)
        if self.plans and self.init != "random" and not Path(self.init).is_file():
            raise ValueError(f"plans: expected none with --init, whose levels the network gets; got {self.plans}")
        if self.init == "random" and self.transfer != "encoder":
            raise ValueError(
                f"transfer: expected --init with the run to transfer from, got {self.transfer} from random"
            )
        if self.init == "random" and self.prefix:
            raise ValueError(f"prefix: expected --init with a file of weights, got {self.prefix!r} with random")

    def _check_encoder(self) -> None:
        """Raise ValueError where the encoder's settings contradict each other."""
        scale = self.encoder_lr_scale
        if not 0 <= self.freeze_encoder <= self.steps:
            raise ValueError(
                f"freeze_encoder: expected from 0 to the {self.steps} steps of the run, got {self.freeze_encoder}"
            )
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(
                f"encoder_lr_scale: expected a number above 0, got {scale}; --freeze-encoder {self.steps} keeps the "
                "encoder as it is"
            )
        if self.freeze_encoder == self.steps and scale != 1:
            raise ValueError(
                f"encoder_lr_scale: expected none with an encoder that is frozen for all {self.steps} steps, got "
                f"{scale}; give fewer steps to --freeze-encoder"
            )

    def describe_optimizer(self) -> str:
        """Return in words how weights change."""
        parts = [super().describe_optimizer()]
        if self.freeze_encoder:
            parts.append(f"encoder frozen for {self.freeze_encoder} steps")
        if self.encoder_lr_scale != 1:
            parts.append(f"{self.encoder_lr_scale:g} × the learning rate in the encoder")
        return ", ".join(parts)

    def view(self, init: Init | None) -> TaskInput:
        """Return how the network looks at a case."""
        kept = init.recipe.get("normalize", "zscore") if init else "zscore"
        normalize: Any = tuple(kept) if isinstance(kept, list) else kept
        if self.normalize is not None:
            normalize = None if self.normalize == "none" else self.normalize
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
        """Return what cases are resampled to."""
        if self.spacing == "own":
            return None
        known = init.recipe.get("spacing") if init else None
        return self.spacing or (tuple(known) if known else None)

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on what is to be found."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Segment(FinetuneConfig):
    """Segment what the label volumes of a folder show."""

    task: ClassVar[str] = "segment"

    label_pattern: tuple[str, ...] = field(default=EVERY_VOLUME, metadata=MAY_CHANGE)
    """Which files of --labels: globs, in which {case} may stand for the case's name."""
    names: Path | None = field(default=None, metadata=MAY_CHANGE)
    """JSON with the names of the labels, as {"1": "liver"}; labels of one name are one class. Without it, the labels or
    regions of a dataset.json (nnU-Net, Decathlon) that lies in the folder of the labels or images, or beside it."""
    regions: tuple[str, ...] = ()
    """Regions that may overlap, the wider before the narrower, as tumour=1+2+4 core=1+4: a sigmoid for each."""
    absent: Absent = "empty"
    """What it means that a class has no voxel in a case: there is none, or nobody has drawn it (not for regions)."""
    slices: Axis | None = None
    """With --dims 2: the axis that volumes are cut across, as for --init, D without one; --crop is 1 and the edges
    within a slice. What is predicted and scored is whole volumes."""
    keep_empty: bool = False
    """Take cases without any labelled voxel."""
    foreground: float = 0.5
    """Probability that a crop is centred on a labelled voxel, each class as often."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.slices and self.dims != 2:
            raise ValueError(f"slices: expected --dims 2 with them, got {self.slices} with --dims {self.dims}")
        if self.regions and self.absent == "unlabelled":
            raise ValueError("absent: expected empty with --regions, got unlabelled: their labels cannot be told apart")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground: expected a probability from 0 to 1, got {self.foreground}")

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on what is to be found."""
        return self.foreground

    def view(self, init: Init | None) -> TaskInput:
        """Return how the network looks at a case."""
        known = init.recipe.get("slices") if init else None
        view = replace(super().view(init), slices=self.slices or (known["axis"] if known else "D"))
        if view.slices != "D" and view.spacing:
            raise ValueError(f"spacing: expected own with slices across {view.slices}, got {view.spacing}")
        return view


@dataclass(frozen=True, kw_only=True)
class Whole(FinetuneConfig):
    """Settings of tasks that look at a whole volume."""

    columns: tuple[str, ...] = ()
    """Which columns of a CSV file hold the class, or which organs to find; all of them if none is given."""
    shrink: tuple[int, int, int] = (1, 1, 1)
    """Voxels that are averaged to one before the network sees them: a crop must hold a whole volume."""
    shift: int = 4
    """Voxels by which samples are moved, at most, along each axis."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.transfer != "encoder":
            raise ValueError(f"transfer: expected encoder, the task has no decoder; got {self.transfer}")
        if self.shift < 0:
            raise ValueError(f"shift: expected at least 0, got {self.shift}")
        if min(self.shrink) < 1:
            raise ValueError(f"shrink: expected at least 1 along each axis, got {self.shrink}")

    @property
    def moves(self) -> dict[str, Any]:
        """How samples are moved."""
        return {"shift": self.shift, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Classify(Whole):
    """Tell the classes of a CSV file: one column with a class a case; with --multilabel a column of 1 and 0 a class."""

    task: ClassVar[str] = "classify"

    multilabel: bool = False
    """A case may be of several classes, or of none."""


@dataclass(frozen=True, kw_only=True)
class Localize(Whole):
    """Find the boxes of a CSV file (NAME_loi to NAME_hik, of images NAME_hij; half-open, in voxels of the file), or of
    label volumes.
    """

    task: ClassVar[str] = "localize"

    label_pattern: tuple[str, ...] = field(default=EVERY_VOLUME, metadata=MAY_CHANGE)
    """Which files of a folder --labels: globs, in which {case} may stand for the case's name."""
    names: Path | None = field(default=None, metadata=MAY_CHANGE)
    """JSON with the names of the labels, as {"1": "liver"}. Without it, those of a dataset.json, as of segment."""
