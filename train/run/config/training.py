"""Settings of training, which pre-training and fine-tuning share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from ...optim.optimizer import MOMENTUM, OptimizerName
from ...optim.schedule import FACTOR, ScheduleName
from ..computation import MemoryFormat
from .data import MAY_CHANGE, DataSettings

Dims = Literal[2, 3]

NetworkName = Literal[
    "dynunet", "sononet64", "locnet", "nsunet", "nsunet-skips", "resenc-l", "resenc-s", "resnet18", "resnet18-skips"
]

WITH_ENCODER_WEIGHTS = ("resnet18", "resnet18-skips")
"""Networks for which --encoder-weights can be given."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(DataSettings):
    """Settings of training."""

    resume: bool = field(default=False, metadata=MAY_CHANGE)
    """Output: continue from the checkpoint in --out, or start if there is none."""
    any_version: bool = field(default=False, metadata=MAY_CHANGE)
    """Output: with --resume, continue a run from another version of this package."""

    network: NetworkName = "dynunet"
    """Network: architecture."""
    dims: Dims = 3
    """Network: 3 for volumes; 2 for images or single slices of volumes, with a --crop of 1 voxel along D."""
    encoder_weights: str = "random"
    """Network: initial weights of the encoder of resnet18: random, imagenet (torchvision's, downloaded), or a file with
    the state dict of a ResNet-18. With one channel, the filters of the three colours are summed."""

    steps: int = field(metadata=MAY_CHANGE)
    """Training: number of steps."""
    batch_size: int = field(metadata=MAY_CHANGE)
    """Training: crops of a batch; a step is --accumulate batches."""
    accumulate: int = field(default=1, metadata=MAY_CHANGE)
    """Training: batches whose gradients are averaged in a step of --accumulate x --batch-size samples."""
    optimizer: OptimizerName = "adamw"
    """Optimiser: adamw, or sgd with Nesterov momentum as in nnU-Net (PCRLv2: plain momentum, as published)."""
    momentum: float | None = field(default=None, metadata=MAY_CHANGE)
    """Optimiser: momentum of sgd; by default 0.99, for PCRLv2 0.9."""
    lr: float = field(default=1e-3, metadata=MAY_CHANGE)
    """Optimiser: highest learning rate, after a linear warm-up and before the decay of --schedule."""
    warmup: float = field(default=0.05, metadata=MAY_CHANGE)
    """Optimiser: fraction of the steps for the warm-up."""
    schedule: ScheduleName = field(default="cosine", metadata=MAY_CHANGE)
    """Optimiser: decay of the learning rate: cosine, poly with exponent 0.9 as in nnU-Net, step (see --step-every), or
    constant."""
    step_every: int | None = field(default=None, metadata=MAY_CHANGE)
    """Optimiser: with --schedule step, number of steps after which the learning rate is multiplied by --step-factor,
    each time."""
    step_factor: float | None = field(default=None, metadata=MAY_CHANGE)
    """Optimiser: with --schedule step, factor of the learning rate; by default 0.5."""
    weight_decay: float = field(default=1e-2, metadata=MAY_CHANGE)
    """Optimiser: weight decay; adamw does not apply it to norms and biases."""
    clip: float = field(default=1.0, metadata=MAY_CHANGE)
    """Optimiser: gradient clipping norm; 0 for no clipping."""
    ema: float = 0.0
    """Optimiser: evaluate and export an exponential moving average of the weights with this decay, such as 0.999; 0 is
    off."""
    seed: int = 0
    """Training: seed of the weights and samples."""

    threads: int | None = field(default=None, metadata=MAY_CHANGE)
    """Hardware: threads that read and decode; by default one per core."""
    cache: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Hardware: caches of decompressed volumes, fastest first, for example gpu:40GB host:16GB disk:PATH:500GB."""
    on_error: Literal["raise", "skip"] = field(default="raise", metadata=MAY_CHANGE)
    """Data: if a file can no longer be read, stop (raise), or use crops of other cases and report it (skip)."""
    deterministic: bool = field(default=False, metadata=MAY_CHANGE)
    """Hardware: use only deterministic kernels on a GPU; on a CPU all are deterministic."""
    compile: Literal["auto", "on", "off"] = field(default="auto", metadata=MAY_CHANGE)
    """Hardware: compile the network with torch.compile, which takes minutes at the first steps; auto is off on a
    CPU."""
    memory_format: Literal["auto", MemoryFormat] = field(default="auto", metadata=MAY_CHANGE)
    """Hardware: memory format of weights and features; auto is contiguous on a CPU."""

    checkpoint_every: int = field(default=500, metadata=MAY_CHANGE)
    """Output: steps between checkpoints."""
    log_every: int = field(default=10, metadata=MAY_CHANGE)
    """Output: steps between lines in metrics.jsonl, each of which synchronises with the GPU."""
    evaluate_every: int | None = field(default=None, metadata=MAY_CHANGE)
    """Evaluation: steps between evaluations on held-out cases; by default a tenth of all steps in pre-training and a
    quarter in fine-tuning, but at least 100."""

    counts: ClassVar[tuple[str, ...]] = (
        *("steps", "batch_size", "accumulate", "threads", "checkpoint_every", "log_every", "evaluate_every"),
        "step_every",
    )
    measurements: ClassVar[int] = 10
    """Number of evaluations of a run without --evaluate-every."""
    sgd: ClassVar[tuple[float, bool]] = (MOMENTUM, True)
    """Default momentum of SGD, and whether it is Nesterov's."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        super().__post_init__()
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup: expected a fraction from 0 to 1, got {self.warmup}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr: expected a number above 0, got {self.lr}")
        self._check_schedule()
        if self.encoder_weights != "random" and self.network not in WITH_ENCODER_WEIGHTS:
            raise ValueError(
                f"--encoder-weights: expected random for --network {self.network}, got {self.encoder_weights}; give "
                f"--network {WITH_ENCODER_WEIGHTS[0]}"
            )
        for name in ("clip", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected a number of at least 0, got {getattr(self, name)}"
                )
        if not 0 <= self.ema < 1:
            raise ValueError(f"--ema: expected a decay of at least 0 and below 1, got {self.ema}; 0 is off")
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(
                f"--momentum: expected no value with --optimizer {self.optimizer}, got {self.momentum}; give "
                "--optimizer sgd"
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"--momentum: expected a number of at least 0 and below 1, got {self.momentum}")

    def _check_schedule(self) -> None:
        """Check the settings of --schedule step."""
        if self.schedule == "step" and self.step_every is None:
            raise ValueError("--step-every: expected a number of steps with --schedule step, got none")
        for name in ("step_every", "step_factor"):
            if self.schedule != "step" and getattr(self, name) is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected no value with --schedule {self.schedule}, got "
                    f"{getattr(self, name)}; give --schedule step"
                )
        if self.step_factor is not None and not 0 < self.step_factor < 1:
            raise ValueError(f"--step-factor: expected a number between 0 and 1, got {self.step_factor}")

    @property
    def fixed(self) -> tuple[str, ...]:
        """Names of the settings that a resumed run must not change."""
        return tuple(setting.name for setting in fields(self) if not setting.metadata.get("may_change"))

    @property
    def step_samples(self) -> int:
        """Samples of a step."""
        return self.batch_size * self.accumulate

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """Keyword arguments of `train.optim.optimizer.build_optimizer`."""
        momentum, nesterov = self.sgd
        options = {"momentum": momentum if self.momentum is None else self.momentum, "nesterov": nesterov}
        return {"name": self.optimizer, "lr": self.lr, "weight_decay": self.weight_decay, **options}

    @property
    def schedule_options(self) -> dict[str, Any]:
        """Keyword arguments of `train.optim.schedule.learning_rate`."""
        factor = FACTOR if self.step_factor is None else self.step_factor
        return {"schedule": self.schedule, "step_every": self.step_every or 0, "step_factor": factor}

    def describe_step(self) -> str:
        """Return the number of samples of a step as text."""
        return f"{self.accumulate} × {self.batch_size}" if self.accumulate > 1 else str(self.batch_size)

    def describe_optimizer(self) -> str:
        """Describe the optimiser and its schedule."""
        options, name = self.optimizer_options, "AdamW"
        if self.optimizer == "sgd":
            name = f"SGD, {'Nesterov ' * options['nesterov']}momentum {options['momentum']:g}"
        average = f", EMA of the weights {self.ema:g}" if self.ema else ""
        rate = f"learning rate {self.lr:g}, warm-up {self.warmup:.0%} of the steps, {self.schedule}"
        if self.schedule == "step":
            rate += f" × {self.schedule_options['step_factor']:g} every {self.step_every}"
        clip = f"clip {self.clip:g}" if self.clip else "no clipping"
        return f"{name}, {rate}, weight decay {self.weight_decay:g}, {clip}{average}"

    @property
    def evaluation_interval(self) -> int:
        """Steps between evaluations."""
        return self.evaluate_every or max(100, self.steps // self.measurements)

    def steps_known(self, earlier: dict[str, Any]) -> int | None:
        """Return the number of steps, given the config.json of the run to resume; None if it is not known yet."""
        return self.steps

    def check_past(self, was: Mapping[str, Any], step: int) -> None:
        """Check that settings of the first `step` steps, which were taken with the settings `was`, have not changed.

        Raises
        ------
        ValueError
        """

    def check_dims(self, crop: tuple[int, int, int]) -> None:
        """Check that a crop for a 2-D network has one voxel along D.

        Raises
        ------
        ValueError
            With a crop that is valid.
        """
        if self.dims == 2 and crop[0] != 1:
            flat = f"1 {crop[1]} {crop[2]}"
            raise ValueError(
                f"crop: expected one voxel along D with --dims 2, as {flat}; got {' '.join(map(str, crop))}"
            )
