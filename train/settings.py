"""The settings of a fine-tuning run: those of every task, and those of each.

What Chen et al. (2019) trained with is not known to us: every default here is a project choice.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.scan import EVERY_VOLUME
from train.data import DATA
from train.labels import Unmatched
from train.segment import Absent
from train.splits import Split
from train.supervision import Supervised, open_classification, open_localization, open_segmentation
from train.task import Task, View
from train.transfer import Init, Transfer


@dataclass(frozen=True, kw_only=True)
class Config(ABC):
    """Settings of every task. Triples are D H W, that is z y x."""

    task: ClassVar[str]

    data: tuple[Path, ...] = ()
    """Folders of volumes (NIfTI)."""
    labels: Path
    """What is true of them: a folder of label volumes, or a CSV file whose first column names the case."""
    out: Path
    """Folder of the run: new or empty, or with --resume the one to go on in."""
    resume: bool = False
    """Go on from the checkpoint in --out; where there is none yet, start."""
    any_version: bool = False
    """Resume a run that another version of this package made."""

    pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files: globs, in which {case} and {channel} may stand for parts of the name."""
    channels: tuple[str, ...] = ()
    """Names that {channel} must take in every case, in this order; all that are found if none is given."""
    include: tuple[str, ...] = ()
    """Globs of files to take as well."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out."""
    fourth_axis: Literal["channels", "cases"] = "channels"
    """What a fourth axis of a file is."""
    index: Path | None = None
    """An index saved by `python -m dali_cr scan --save`: the data are not scanned again."""
    unmatched: Unmatched = "refuse"
    """What to do about an image without a label, or a label without an image."""

    split: Path | None = None
    """A file that says who is in pool, val and test: see `python -m train.splits`. Drawn at random without one."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Without --split: shares of the subjects for pool, val and test."""
    cases: int | None = None
    """Train on the first so many labelled cases of the pool, in an order drawn from --order-seed; on all without."""
    order_seed: int = 0
    """Of that order, and of a split that is drawn."""

    init: str = "random"
    """The folder of a pre-training run, or random."""
    transfer: Transfer = "encoder"
    """What is taken over from it. The head is always new."""
    network: Literal["dynunet"] = "dynunet"
    """Which network."""
    filters: int | None = None
    """Channels of its first level: those of --init, 16 without one."""
    plans: Path | None = None
    """Without --init: an nnUNetPlans.json whose levels the network gets. With it, the levels are its own."""
    configuration: str = "3d_fullres"
    """Which configuration of --plans."""
    topology: tuple[int, int, int] | None = None
    """The crop that the network's levels are made for: that of --init, or --crop without one."""

    crop: tuple[int, int, int] | None = None
    """Voxels of a crop: those of --init, 64 64 64 without one."""
    flips: tuple[Literal["D", "H", "W"], ...] = ()
    """Axes that may be flipped, image and labels alike; never W where left and right are classes."""
    normalize: Literal["zscore", "percentile", "none"] | tuple[Literal["window"], float, float] | None = None
    """How intensities are scaled: as for --init, zscore without one."""

    batch_size: int = 4
    """Crops a step."""
    steps: int = 1000
    """Steps to train."""
    lr: float = 1e-3
    """Highest learning rate: reached by a linear warm-up, left along a cosine."""
    warmup: float = 0.05
    """Share of the steps that warm up."""
    weight_decay: float = 1e-2
    """Of AdamW, on all but norms and biases."""
    clip: float = 1.0
    """Longest gradient."""
    seed: int = 0
    """Of the new weights and the samples."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto is a GPU if there is one."""
    threads: int | None = None
    """Threads that read and decode; one for each core if not given."""
    cache: tuple[str, ...] = ()
    """Where inflated volumes are kept, the fastest first: gpu:40GB host:16GB disk:PATH:500GB."""
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits each time; a CPU always does."""

    checkpoint_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between lines in metrics.jsonl; the GPU is waited for only then."""
    evaluate_every: int | None = None
    """Steps between measurements on val; a quarter of all, but at least 100, if not given."""
    evaluate_cases: int = 8
    """Cases of val to measure on."""
    score: Literal["test", "val"] = "test"
    """Which part the last weights are scored on: val to choose settings by, test when they are chosen."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        if not self.data and self.index is None:
            raise ValueError("data: wanted a folder of volumes, or --index, got neither")
        counts = ("cases", "filters", "batch_size", "steps", "threads", "checkpoint_every", "log_every")
        for name in (*counts, "evaluate_every", "evaluate_cases"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: wanted at least 1, got {count}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: wanted a share from 0 to 1, got {self.warmup}")
        for name in ("lr", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}: wanted a number above 0, got {getattr(self, name)}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay: wanted a number of at least 0, got {self.weight_decay}")
        if self.init != "random" and self.plans:
            raise ValueError(f"plans: wanted none with --init, whose levels the network gets; got {self.plans}")
        if self.init == "random" and self.transfer != "encoder":
            raise ValueError(f"transfer: wanted --init with the run to transfer from, got {self.transfer} from random")

    @abstractmethod
    def open_task(self, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
        """Return the task and its cases."""

    def view(self, init: Init | None) -> View:
        """Return how the network looks at a case."""
        known = init.about["recipe"] if init else {"crop": (64, 64, 64), "normalize": "zscore"}
        kept = known["normalize"]
        normalize: Any = tuple(kept) if isinstance(kept, list) else kept
        if self.normalize is not None:
            normalize = None if self.normalize == "none" else self.normalize
        crop = self.crop or tuple(known["crop"])
        return View(
            crop=crop, normalize=normalize, batch_size=self.batch_size, shrink=getattr(self, "shrink", (1, 1, 1))
        )

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on what is to be found."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Segment(Config):
    """Segment what the label volumes of a folder show."""

    task: ClassVar[str] = "segment"

    label_pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files of --labels: globs, in which {case} may stand for the case's name."""
    names: Path | None = None
    """JSON with the names of the labels, as {"1": "liver"}."""
    regions: tuple[str, ...] = ()
    """Regions that may overlap, the wider before the narrower, as tumour=1+2+4 core=1+4: a sigmoid for each."""
    absent: Absent = "empty"
    """What it means that a class has no voxel in a case: there is none, or nobody has drawn it (not for regions)."""
    keep_empty: bool = False
    """Take cases without any labelled voxel."""
    foreground: float = 0.5
    """Probability that a crop is centred on a labelled voxel, each class as often."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.regions and self.absent == "unlabelled":
            raise ValueError("absent: wanted empty with --regions, got unlabelled: their labels cannot be told apart")
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground: wanted a probability from 0 to 1, got {self.foreground}")

    @property
    def foreground_share(self) -> float:
        """Probability that a crop is centred on what is to be found."""
        return self.foreground

    def open_task(self, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
        """Return the task and its cases."""
        return open_segmentation(
            index,
            split,
            view,
            labels=self.labels,
            pattern=self.label_pattern,
            names=self.names,
            regions=self.regions,
            absent=self.absent,
            keep_empty=self.keep_empty,
            unmatched=self.unmatched,
        )


@dataclass(frozen=True, kw_only=True)
class Whole(Config):
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
            raise ValueError(f"transfer: wanted encoder, the task has no decoder; got {self.transfer}")
        if self.shift < 0:
            raise ValueError(f"shift: wanted at least 0, got {self.shift}")
        if min(self.shrink) < 1:
            raise ValueError(f"shrink: wanted at least 1 along each axis, got {self.shrink}")

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

    def open_task(self, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
        """Return the task and its cases."""
        return open_classification(
            index,
            split,
            view,
            labels=self.labels,
            columns=self.columns,
            multilabel=self.multilabel,
            unmatched=self.unmatched,
            **self.moves,
        )


@dataclass(frozen=True, kw_only=True)
class Localize(Whole):
    """Find the boxes of a CSV file (NAME_loi to NAME_hik, half-open, in voxels of the file), or of label volumes."""

    task: ClassVar[str] = "localize"

    label_pattern: tuple[str, ...] = EVERY_VOLUME
    """Which files of a folder --labels: globs, in which {case} may stand for the case's name."""
    names: Path | None = None
    """JSON with the names of the labels, as {"1": "liver"}."""

    def open_task(self, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
        """Return the task and its cases."""
        return open_localization(
            index,
            split,
            view,
            labels=self.labels,
            pattern=self.label_pattern,
            names=self.names,
            columns=self.columns,
            unmatched=self.unmatched,
            **self.moves,
        )


FREE = {
    *DATA,
    *("labels", "label_pattern", "names", "out", "split", "init", "unmatched", "batch_size", "steps", "lr", "warmup"),
    *("weight_decay", "clip", "device", "threads", "cache", "deterministic", "checkpoint_every", "log_every"),
    *("evaluate_every", "evaluate_cases", "score", "any_version"),
}
"""Settings that a resumed run may change; the rest make it another run, as other data, labels or splits do."""
