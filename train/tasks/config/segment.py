"""Settings of segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from dali_cr.index.scan import EVERY_VOLUME

from ...run.config.data import MAY_CHANGE, Axis
from ..loss import LossName
from ..segment import Absent
from ..task import TaskInput
from ..transfer import Init
from .finetune import FinetuneConfig


@dataclass(frozen=True, kw_only=True)
class Segment(FinetuneConfig):
    """Segment the classes or regions of a folder of label volumes."""

    task: ClassVar[str] = "segment"

    label_pattern: tuple[str, ...] = field(default=EVERY_VOLUME, metadata=MAY_CHANGE)
    """Labels: globs of the files in --labels; {case} stands for the case's name."""
    names: Path | None = field(default=None, metadata=MAY_CHANGE)
    """Labels: JSON file with the names of the labels, such as {"1": "liver"}; labels with the same name are one class.
    By default the labels or regions of a dataset.json (nnU-Net, Decathlon) in or beside the folder of labels or
    images."""
    regions: tuple[str, ...] = ()
    """Labels: overlapping regions, larger before smaller ones, for example tumour=1+2+4 core=1+4; each is a sigmoid."""
    absent: Absent = "empty"
    """Labels: meaning of a class without voxels in a case: absent in the image (empty) or not annotated (unlabelled,
    not for regions)."""
    slices: Axis | None = None
    """Sampling: with --dims 2, axis across which volumes are sliced, by default that of --init, or D; --crop is 1 and
    the edges within a slice. Predictions and scores are for whole volumes."""
    loss: LossName = "dice-ce"
    """Loss: dice-ce, Dice + (binary) cross-entropy; dice-bce, for --regions, the sum over regions of Dice loss + 0.2
    binary cross-entropy, as PCRLv2's public code for BraTS; or tversky, with weights 0.3 and 0.7 of false positives and
    false negatives, as there for LiTS."""
    keep_empty: bool = False
    """Labels: keep cases without labelled voxels."""
    foreground: float = 0.5
    """Sampling: probability that a crop is centred on a labelled voxel, with equal probability for each class."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if self.slices and self.dims != 2:
            raise ValueError(f"slices: expected --dims 2 with --slices, got {self.slices} with --dims {self.dims}")
        if self.regions and self.absent == "unlabelled":
            raise ValueError("absent: expected empty with --regions, got unlabelled, which needs disjoint classes")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground: expected a probability from 0 to 1, got {self.foreground}")

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on a labelled voxel."""
        return self.foreground

    def view(self, init: Init | None) -> TaskInput:
        """Return the input settings of the network."""
        known = init.recipe.get("slices") if init else None
        view = replace(super().view(init), slices=self.slices or (known["axis"] if known else "D"))
        if view.slices != "D" and view.spacing:
            raise ValueError(f"spacing: expected own with slices across {view.slices}, got {view.spacing}")
        return view
