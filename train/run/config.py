"""The settings that several commands have: where the data are, how a run trains, where it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from dali_cr.index.layout.listing import Layout

from ..optim.optimizer import MOMENTUM, OptimizerName
from ..optim.schedule import ScheduleName
from .computation import MemoryFormat

Axis = Literal["D", "H", "W"]
Dims = Literal[2, 3]
NetworkName = Literal["dynunet", "sononet64", "locnet", "nsunet", "nsunet-skips", "resenc-l", "resenc-s"]
Scaling = Literal["zscore", "zscore-image", "percentile", "none"] | tuple[Literal["window"], float, float]
"""How intensities are scaled, as words of a command line."""

MAY_CHANGE: Mapping[str, bool] = {"may_change": True}
"""Metadata of a setting that a resumed run may change. The others make it another run, as those of its samples do."""

DATA = ("data", "index", "pattern", "layout", "channels", "include", "exclude", "fourth_axis")
"""Settings that say where the data are."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the data are."""

    data: tuple[Path, ...] = field(default=(), metadata=MAY_CHANGE)
    """Folders of volumes (NIfTI), or with a --pattern of theirs of images (PNG, JPEG); or one CSV file of paths."""
    out: Path = field(metadata=MAY_CHANGE)
    """Folder that is written: new or empty, or with --resume the one to go on in."""
    pattern: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Which files: globs, in which {case} and {channel} may stand for parts of the name; all volumes without it."""
    layout: Layout = field(default="auto", metadata=MAY_CHANGE)
    """What makes cases of files without a --pattern: nnunet, bids, files (each is a case), or the one recognised."""
    channels: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Names that {channel} must take in every case, in this order; all that are found if none is given."""
    include: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Globs of files to take as well."""
    exclude: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Globs of files to leave out."""
    fourth_axis: Literal["channels", "cases"] = field(default="channels", metadata=MAY_CHANGE)
    """What a fourth axis of a file is."""
    index: Path | None = field(default=None, metadata=MAY_CHANGE)
    """An index saved by `dali-cr scan --save`: the data are not scanned again."""
    split: Path | None = field(default=None, metadata=MAY_CHANGE)
    """A file that says which subjects are in which part: see `dali-cr splits`."""

    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=MAY_CHANGE)
    """Where to compute; auto is a GPU if there is one."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Settings that are numbers of at least 1, or None."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        if not self.data and self.index is None:
            raise ValueError("data: expected a folder of volumes, or --index, got neither")
        for name in self.counts:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")


@dataclass(frozen=True, kw_only=True)
class RunSettings(DataSettings):
    """How a run trains."""

    resume: bool = field(default=False, metadata=MAY_CHANGE)
    """Go on from the checkpoint in --out; where there is none yet, start."""
    any_version: bool = field(default=False, metadata=MAY_CHANGE)
    """With --resume: go on although another version of this package made the run."""

    network: NetworkName = "dynunet"
    """Which network."""
    dims: Dims = 3
    """2 is a network of images, or of single slices of volumes; the first edge of --crop is then 1."""

    steps: int = field(metadata=MAY_CHANGE)
    """Steps to train."""
    batch_size: int = field(metadata=MAY_CHANGE)
    """Crops a step."""
    accumulate: int = field(default=1, metadata=MAY_CHANGE)
    """Batches whose gradients are averaged to one step: the samples of a step are so many times --batch-size."""
    optimizer: OptimizerName = "adamw"
    """adamw; or sgd, with Nesterov's momentum as in nnU-Net (without Nesterov's in PCRLv2, as published)."""
    momentum: float | None = field(default=None, metadata=MAY_CHANGE)
    """Of --optimizer sgd: 0.99 without it, 0.9 in PCRLv2."""
    lr: float = field(default=1e-3, metadata=MAY_CHANGE)
    """Highest learning rate: reached by a linear warm-up, left along --schedule."""
    warmup: float = field(default=0.05, metadata=MAY_CHANGE)
    """Share of the steps that warm up."""
    schedule: ScheduleName = field(default="cosine", metadata=MAY_CHANGE)
    """How the learning rate decays after the warm-up: half a cosine, or poly, (1 - part of the steps) ** 0.9."""
    weight_decay: float = field(default=1e-2, metadata=MAY_CHANGE)
    """Of adamw on all but norms and biases, of sgd on every parameter."""
    clip: float = field(default=1.0, metadata=MAY_CHANGE)
    """Largest norm of a step's gradient; 0 for no clipping."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, 0.999 say, which is then evaluated and exported; 0 for
    the weights of the last step."""
    seed: int = 0
    """Of the weights and the samples."""

    threads: int | None = field(default=None, metadata=MAY_CHANGE)
    """Threads that read and decode; one for each core if not given."""
    cache: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Where inflated volumes are kept, the fastest first: gpu:40GB host:16GB disk:PATH:500GB."""
    on_error: Literal["raise", "skip"] = field(default="raise", metadata=MAY_CHANGE)
    """When a file cannot be read any more: stop, or put crops of other cases in its place and say so."""
    deterministic: bool = field(default=False, metadata=MAY_CHANGE)
    """On a GPU, use only kernels that give the same bits each time; a CPU always does."""
    compile: Literal["auto", "on", "off"] = field(default="auto", metadata=MAY_CHANGE)
    """Compile the network by torch.compile, which makes the first steps take minutes; auto is off on a CPU."""
    memory_format: Literal["auto", MemoryFormat] = field(default="auto", metadata=MAY_CHANGE)
    """Order of the axes of weights and features in memory; auto is contiguous on a CPU."""

    checkpoint_every: int = field(default=500, metadata=MAY_CHANGE)
    """Steps between checkpoints."""
    log_every: int = field(default=10, metadata=MAY_CHANGE)
    """Steps between lines in metrics.jsonl; the GPU is waited for only then."""
    evaluate_every: int | None = field(default=None, metadata=MAY_CHANGE)
    """Steps between measurements on cases that are not trained on; if not given a tenth of all in pre-training, a
    quarter in fine-tuning, but at least 100."""

    counts: ClassVar[tuple[str, ...]] = (
        *("steps", "batch_size", "accumulate", "threads", "checkpoint_every", "log_every", "evaluate_every"),
    )
    measurements: ClassVar[int] = 10
    """Of a run, where no --evaluate-every is given."""
    sgd: ClassVar[tuple[float, bool]] = (MOMENTUM, True)
    """Momentum of SGD where none is given, and whether it is Nesterov's."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: expected a share from 0 to 1, got {self.warmup}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr: expected a number above 0, got {self.lr}")
        for name in ("clip", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}: expected a number of at least 0, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: expected a decay of at least 0 and below 1, got {self.ema}; 0 keeps no average")
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(
                f"momentum: expected none with --optimizer {self.optimizer}, got {self.momentum}; give --optimizer sgd"
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"momentum: expected a number of at least 0 and below 1, got {self.momentum}")

    @property
    def fixed(self) -> tuple[str, ...]:
        """Settings that a resumed run must not change."""
        return tuple(setting.name for setting in fields(self) if not setting.metadata.get("may_change"))

    @property
    def step_samples(self) -> int:
        """Samples of a step."""
        return self.batch_size * self.accumulate

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """What `train.optim.optimizer.build_optimizer` is called with beside the module."""
        momentum, nesterov = self.sgd
        options = {"momentum": momentum if self.momentum is None else self.momentum, "nesterov": nesterov}
        return {"name": self.optimizer, "lr": self.lr, "weight_decay": self.weight_decay, **options}

    def describe_step(self) -> str:
        """Return in words how many samples a step has."""
        return f"{self.accumulate} × {self.batch_size}" if self.accumulate > 1 else str(self.batch_size)

    def describe_optimizer(self) -> str:
        """Return in words how weights change."""
        options, name = self.optimizer_options, "AdamW"
        if self.optimizer == "sgd":
            name = f"SGD, {'Nesterov ' * options['nesterov']}momentum {options['momentum']:g}"
        average = f", average of the weights {self.ema:g}" if self.ema else ""
        rate = f"learning rate {self.lr:g}, warm-up {self.warmup:.0%} of the steps, {self.schedule}"
        clip = f"clip {self.clip:g}" if self.clip else "no clipping"
        return f"{name}, {rate}, weight decay {self.weight_decay:g}, {clip}{average}"

    @property
    def evaluation_interval(self) -> int:
        """Steps between measurements."""
        return self.evaluate_every or max(100, self.steps // self.measurements)

    def steps_known(self, earlier: dict[str, Any]) -> int | None:
        """Return the steps to train, as far as they are known from the config.json of the run to go on with."""
        return self.steps

    def check_dims(self, crop: tuple[int, int, int]) -> None:
        """Refuse a thick crop for a network of images.

        Raises
        ------
        ValueError
            With the crop that would do.
        """
        if self.dims == 2 and crop[0] != 1:
            flat = f"1 {crop[1]} {crop[2]}"
            raise ValueError(
                f"crop: expected one voxel along D with --dims 2, as {flat}; got {' '.join(map(str, crop))}"
            )


@dataclass(frozen=True, kw_only=True)
class PlanSettings(RunSettings):
    """How a run trains that may take its network's levels from nnU-Net."""

    plans: Path | None = None
    """An nnUNetPlans.json whose levels a dynunet gets; `dali-cr export` makes weights for nnU-Net of it."""
    configuration: str = "3d_fullres"
    """Which configuration of --plans."""

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.plans and self.network != "dynunet":
            raise ValueError(f"plans: expected --network dynunet, whose levels they are, got {self.network}")
