"""The settings of a pre-training run by PCRLv2, ``python -m train.pretrain --recipe pcrlv2``.

Defaults are those of the public code (RL4M/PCRLv2) for LUNA, which has resampled its volumes to 1 mm: with others give
`--spacing 1 1 1`, or sizes that suit. Project choices: intensities between percentiles, where there it is a window of
CT, and 16 drawn samples a case as an epoch, where there it is 16 kept ones. With `--dims 2` sizes are to be given, of
one voxel along D: there is no published counterpart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import dali_cr
from dali_cr.volume.geometry import Triple

from ...networks.build import sizes_of
from ...networks.nsunet import STRIDE
from ...networks.resenc import BLOCKS, stride_of
from ...optim.optimizer import OptimizerName
from ...run.config import MAY_CHANGE
from ..config import PretrainConfig, RecipeName
from .pyramid import RestorationHead

_STRIDES = {"nsunet": STRIDE, **{name: stride_of(name) for name in BLOCKS}}
"""From a network without skips to the voxels along each axis that are one of its coarsest features."""


@dataclass(frozen=True, kw_only=True)
class Pcrlv2Config(PretrainConfig):
    """Pre-train a network by PCRLv2, on a folder of volumes. Triples are D H W, that is z y x."""

    recipe: RecipeName = field(init=False, default="pcrlv2")
    network: Literal["nsunet", "resenc-l", "resenc-s"] = "nsunet"
    """Which network: the non-skip U-Net as published, or nnU-Net's residual encoder with a decoder without skips."""
    restoration_head: RestorationHead = "code"
    """What restores a level: as in the public 3-D code, or as in the paper."""

    crop: Triple = (32, 64, 64)
    """Voxels of a global view."""
    sizes: tuple[Triple, ...] = ((64, 96, 96), (96, 96, 96), (64, 112, 112), (32, 64, 64))
    """Boxes of a volume that a global view may be of, three edges each."""
    overlap: float = 0.3
    """Two global boxes share more than this of what they cover together."""
    locals: int = 6
    """Local views of a sample."""
    local_crop: Triple = (16, 16, 16)
    """Voxels of a local view."""
    local_sizes: tuple[Triple, ...] = ((16, 32, 32), (16, 16, 16), (32, 32, 32), (8, 8, 8))
    """Boxes that a local view may be of, three edges each."""
    spacing: tuple[float, float, float] | None = None
    """Of the voxels that boxes are counted in, in mm; the volume's own if not given."""
    iterations: int = 100
    """Swaps of two patches in a global view."""
    patch: tuple[int, ...] = (4, 4, 8)
    """Edges of a patch in voxels: one number, lowest and highest, D H W, or lowest and highest of D, H and W."""
    normalize: Literal["percentile"] | tuple[Literal["window"], float, float] = "percentile"
    """How intensities are scaled to 0...1: percentile, or for CT window -1000 1000, say. Views are z-scored after."""
    scale: float = 0.1
    """Axes are stretched by up to this share."""
    degrees: float = 10.0
    """Views are turned about each axis by up to this angle."""
    blur: float = 2.0
    """Largest deviation of the blur, in voxels of the view."""
    noise: float = 0.25
    """Largest deviation of the noise."""
    gamma: float = 0.3
    """Largest logarithm of the gamma."""

    comparison_weight: float = 1.0
    """Of both comparisons, beside the restoration's 1. Less for a short run that is to restore."""
    batch_size: int = field(default=32, metadata=MAY_CHANGE)
    """Samples a step; at least 2."""
    epochs: float = field(default=240.0, metadata=MAY_CHANGE)
    """How long to train, where no --steps are given."""
    epoch_samples: int = field(default=16, metadata=MAY_CHANGE)
    """Samples of each case in an epoch."""
    steps: int | None = field(default=None, metadata=MAY_CHANGE)  # type: ignore[assignment]  # known when the cases are
    """Steps to train, in place of --epochs."""
    optimizer: OptimizerName = "sgd"
    """sgd with momentum 0.9 as published, or adamw."""
    warmup: float = field(default=0.0, metadata=MAY_CHANGE)
    """Share of the steps that warm up."""
    weight_decay: float = field(default=1e-4, metadata=MAY_CHANGE)
    """Of sgd on every parameter, of adamw on all but norms and biases."""
    clip: float = field(default=0.0, metadata=MAY_CHANGE)
    """Largest norm of a step's gradient; 0 for no clipping."""

    counts: ClassVar[tuple[str, ...]] = (*PretrainConfig.counts, "epoch_samples")
    sgd: ClassVar[tuple[float, bool]] = (0.9, False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without looking at the data."""
        super().__post_init__()
        if self.network not in _STRIDES:
            raise ValueError(f"network: expected {', '.join(_STRIDES)} with --recipe pcrlv2, got {self.network}")
        sizes_of(self.network, 1, self.crop, self.filters, dims=self.dims, skips=False)
        if self.batch_size < 2:
            raise ValueError(f"batch_size: expected at least 2, to norm a sample by others, got {self.batch_size}")
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ValueError(f"epochs: expected a number above 0, got {self.epochs}")
        if not (math.isfinite(self.comparison_weight) and self.comparison_weight >= 0):
            raise ValueError(f"comparison_weight: expected a number of at least 0, got {self.comparison_weight}")
        self._check_local_crop()
        if self.dims == 3 and 1 in (self.crop[0], self.local_crop[0]):
            raise ValueError("dims: expected 2 for views of one voxel along D, got 3")

    def _check_local_crop(self) -> None:
        """Raise ValueError unless the network's levels can be made of a local view."""
        stride, edges = _STRIDES[self.network], self.local_crop[3 - self.dims :]
        got = " ".join(map(str, self.local_crop))
        if any(edge % stride for edge in edges):
            raise ValueError(f"local_crop: expected multiples of {stride}, got {got}")
        if self.network in BLOCKS and all(edge == stride for edge in edges):
            raise ValueError(f"local_crop: expected more than {stride} along some axis, got {got}")

    def samples(self) -> dali_cr.Views:
        """Return what samples are made of."""
        return dali_cr.Views(
            shape=self.crop,
            sizes=self.sizes,
            overlap=self.overlap,
            locals=self.locals,
            local_shape=self.local_crop,
            local_sizes=self.local_sizes,
            swap=self.swap,
            flips=self.flips,
            scale=self.scale,
            degrees=self.degrees,
            blur=self.blur,
            noise=self.noise,
            gamma=self.gamma,
            normalize=self.normalize,
            foreground=self.foreground,
            spacing=self.spacing,
        )

    def with_steps(self, cases: int) -> Pcrlv2Config:
        """Return the settings with the steps that so many cases make of the epochs."""
        if self.steps is not None:
            return self
        return replace(self, steps=math.ceil(self.epochs * self.epoch_samples * cases / self.step_samples))

    def follow(self, earlier: PretrainConfig) -> PretrainConfig:
        """Return the settings of a resumed run: other epochs make other steps, where none were typed."""
        assert isinstance(earlier, Pcrlv2Config)
        longer = (self.epochs, self.epoch_samples) != (earlier.epochs, earlier.epoch_samples)
        return replace(self, steps=None) if longer and self.steps == earlier.steps else self

    def steps_known(self, earlier: dict[str, Any]) -> int | None:
        """Return the steps to train, where the settings say so or those of the run to go on with; None elsewhere."""
        was = earlier["config"]
        names = ("epochs", "epoch_samples", "batch_size", "accumulate")
        same = all(was.get(name, 1) == getattr(self, name) for name in names)  # earlier versions did not accumulate
        return self.steps or (was["steps"] if same else None)
