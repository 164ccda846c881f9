"""Settings of tasks whose input is a whole volume: classification and localisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dali_cr.index.scan import EVERY_VOLUME
from dali_cr.recipe.augment import NO_SCALE

from ...run.config.data import MAY_CHANGE
from ..classify import Metric
from .finetune import FinetuneConfig


@dataclass(frozen=True, kw_only=True)
class Whole(FinetuneConfig):
    """Settings of tasks whose input is a whole volume."""

    columns: tuple[str, ...] = ()
    """Labels: columns of a CSV file with the class, or organs to find; by default all."""
    shrink: tuple[int, int, int] = (1, 1, 1)
    """Sampling: blocks of voxels to average before the network, since a crop must contain a whole volume."""
    shift: int = 4
    """Augmentation: largest random shift along each axis, in voxels."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if self.transfer != "encoder":
            raise ValueError(f"transfer: expected encoder, since the task has no decoder; got {self.transfer}")
        if self.shift < 0:
            raise ValueError(f"shift: expected at least 0, got {self.shift}")
        if min(self.shrink) < 1:
            raise ValueError(f"shrink: expected at least 1 along each axis, got {self.shrink}")

    @property
    def moves(self) -> dict[str, Any]:
        """Arguments of the random shifts."""
        return {"shift": self.shift, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Classify(Whole):
    """Classify cases by a CSV file: one column with the class; with --multilabel one column of 0 and 1 per class."""

    task: ClassVar[str] = "classify"

    multilabel: bool = False
    """Labels: cases may have several classes, or none."""
    metric: Metric = field(default="f1", metadata=MAY_CHANGE)
    """Evaluation: main score, which is printed here and by train.baseline: f1 and auroc are means over classes. The
    report has all of them."""


@dataclass(frozen=True, kw_only=True)
class Localize(Whole):
    """Find the boxes of organs, from a CSV file (half-open, in voxels of the file: NAME_loi to NAME_hik, for images to
    NAME_hij) or from label volumes.
    """

    task: ClassVar[str] = "localize"

    label_pattern: tuple[str, ...] = field(default=EVERY_VOLUME, metadata=MAY_CHANGE)
    """Labels: globs of the files in the folder --labels; {case} stands for the case's name."""
    names: Path | None = field(default=None, metadata=MAY_CHANGE)
    """Labels: JSON file with the names of the labels, such as {"1": "liver"}; by default a dataset.json, as for
    segment."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if self.rotate:
            raise ValueError(
                f"--rotate: expected 0 for localize, got {self.rotate:g}: the box around the corners of a rotated box "
                "is larger than the one around the organ, which is not known; use --shift"
            )
        if self.scale != NO_SCALE:
            raise ValueError(
                f"--scale: expected {_words(NO_SCALE)} for localize, got {_words(self.scale)}: a crop contains the "
                "whole volume, so organs of larger content would leave it; use --shift"
            )


def _words(numbers: tuple[float, ...]) -> str:
    """Return numbers as on a command line."""
    return " ".join(f"{number:g}" for number in numbers)
