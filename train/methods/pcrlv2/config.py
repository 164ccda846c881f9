"""Settings of pre-training by PCRLv2, ``python -m train.pretrain --recipe pcrlv2``.

Defaults are those of the public code (RL4M/PCRLv2) for LUNA, whose volumes are resampled to 1 mm: for other data give
`--spacing 1 1 1`, or other `--sizes`. Project choices: intensities are normalised by percentiles (public code: a CT
window), and an epoch has 16 newly drawn samples per case (public code: 16 stored ones). With `--dims 2`, crops and
sizes of one voxel along D must be given; `--preset pcrlv2-2d` has the transforms and the network (`resnet18`) of the
public 2-D code. There is no published counterpart of the residual encoders, whose decoders have five levels
(`resenc-l`) or three (`resenc-s`).
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
from ...networks.resnet import unet as resnet
from ...optim.optimizer import OptimizerName
from ...run.config.data import MAY_CHANGE
from ..config import PretrainConfig, RecipeName
from ..presets import Pcrlv2Preset
from .pyramid import RestorationHead

_STRIDES = {"nsunet": STRIDE, "resnet18": resnet.STRIDE, **{name: stride_of(name) for name in BLOCKS}}
"""From a network without skips to the voxels along each axis that are one of its coarsest features."""


@dataclass(frozen=True, kw_only=True)
class Pcrlv2Config(PretrainConfig):
    """Pre-train a network by PCRLv2 on a folder of volumes. Triples are D H W, that is z y x."""

    recipe: RecipeName = field(init=False, default="pcrlv2")
    preset: Pcrlv2Preset | None = None
    """Pretext: use the settings of a published recipe as defaults; other options override them. Remaining differences
    to the recipe are printed at the start."""
    network: Literal["nsunet", "resenc-l", "resenc-s", "resnet18"] = "nsunet"
    """Network: nsunet, the U-Net without skips, as published in 3-D; resnet18, as published in 2-D; or a residual
    encoder with a decoder without skips."""
    restoration_head: RestorationHead = "code"
    """Network: restoration head of a decoder level, as in the public 3-D code or as in the paper."""

    crop: Triple = (32, 64, 64)
    """Views: voxels of a global view."""
    sizes: tuple[Triple, ...] = ((64, 96, 96), (96, 96, 96), (64, 112, 112), (32, 64, 64))
    """Views: sizes in voxels of the boxes that global views are cut from, three edges each."""
    overlap: float = 0.3
    """Views: the two global boxes of a sample have an intersection over union above this."""
    locals: int = 6
    """Views: local views of a sample."""
    local_crop: Triple = (16, 16, 16)
    """Views: voxels of a local view."""
    local_sizes: tuple[Triple, ...] = ((16, 32, 32), (16, 16, 16), (32, 32, 32), (8, 8, 8))
    """Views: sizes in voxels of the boxes that local views are cut from, three edges each."""
    area: tuple[float, float] | None = None
    """Views: with --dims 2, in place of --sizes: smallest and largest share of an image's area in the box of a global
    view, with sides of 3:4 to 4:3, anywhere in the image; --overlap does not apply."""
    local_area: tuple[float, float] | None = None
    """Views: the same for local views, in place of --local-sizes; required with --area."""
    spacing: tuple[float, float, float] | None = None
    """Views: voxel size in mm in which the boxes are measured; by default that of each volume."""
    iterations: int = 100
    """Pretext: swaps of two patches in a global view."""
    patch: tuple[int, ...] = (4, 4, 8)
    """Pretext: edges of a patch in voxels: one number, minimum and maximum, D H W, or minimum and maximum of D, H and
    W."""
    normalize: Literal["percentile"] | tuple[Literal["window"], float, float] = "percentile"
    """Intensities: scaling to 0...1, percentile or, for example for CT, window -1000 1000. --standardize comes
    afterwards."""
    standardize: Literal["zscore"] | tuple[float, float] = "zscore"
    """Intensities: zscore of each corrupted view, with targets of 0...1; or mean and standard deviation of intensities
    in 0...1 for all views and targets, as ImageNet's 0.449 0.226, with --restoration-head paper."""
    scale: float = 0.1
    """Augmentation: largest relative change of scale along each axis."""
    degrees: float = 10.0
    """Augmentation: largest rotation about each axis, in degrees."""
    blur: float = 2.0
    """Augmentation: largest standard deviation of the Gaussian blur, in voxels of the view."""
    blur_probability: float = 1.0
    """Augmentation: probability that a view is blurred."""
    blur_std: Literal["axis", "view"] = "axis"
    """Augmentation: draw a standard deviation of the blur for each axis, or one for each view."""
    noise: float = 0.25
    """Augmentation: largest standard deviation of the Gaussian noise."""
    gamma: float = 0.3
    """Augmentation: largest absolute logarithm of gamma."""
    brightness: float = 0.0
    """Augmentation: largest relative change of brightness, with a mean and a standard deviation in --standardize."""
    contrast: float = 0.0
    """Augmentation: largest relative change of the distances to a view's mean, as --brightness."""
    cutout: tuple[int, int] | None = None
    """Augmentation: holes in each corrupted global view, and their edge in voxels; 0 after --standardize."""

    comparison_weight: float = 1.0
    """Loss: weight of both contrastive losses; restoration has weight 1. Use less in short runs that should restore."""
    batch_size: int = field(default=32, metadata=MAY_CHANGE)
    """Training: samples of a step; at least 2."""
    epochs: float = field(default=240.0, metadata=MAY_CHANGE)
    """Training: epochs to train, unless --steps is given."""
    epoch_samples: int = field(default=16, metadata=MAY_CHANGE)
    """Training: samples of each case in an epoch."""
    steps: int | None = field(default=None, metadata=MAY_CHANGE)  # type: ignore[assignment]  # known when the cases are
    """Training: steps to train, in place of --epochs."""
    optimizer: OptimizerName = "sgd"
    """Optimiser: sgd with momentum 0.9 as published, or adamw."""
    warmup: float = field(default=0.0, metadata=MAY_CHANGE)
    """Optimiser: fraction of the steps that warm up."""
    weight_decay: float = field(default=1e-4, metadata=MAY_CHANGE)
    """Optimiser: weight decay, of sgd on every parameter, of adamw on all but norms and biases."""
    clip: float = field(default=0.0, metadata=MAY_CHANGE)
    """Optimiser: gradient clipping norm; 0 for no clipping."""

    counts: ClassVar[tuple[str, ...]] = (*PretrainConfig.counts, "epoch_samples")
    sgd: ClassVar[tuple[float, bool]] = (0.9, False)

    def __post_init__(self) -> None:
        """Check the settings, without the data."""
        super().__post_init__()
        if self.network not in _STRIDES:
            raise ValueError(f"network: expected {', '.join(_STRIDES)} with --recipe pcrlv2, got {self.network}")
        sizes_of(self.network, 1, self.crop, self.filters, dims=self.dims, skips=False)
        if self.batch_size < 2:
            raise ValueError(f"--batch-size: expected at least 2, for batch norm, got {self.batch_size}")
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ValueError(f"epochs: expected a number above 0, got {self.epochs}")
        if not (math.isfinite(self.comparison_weight) and self.comparison_weight >= 0):
            raise ValueError(f"--comparison-weight: expected a number of at least 0, got {self.comparison_weight}")
        self._check_local_crop()
        if self.standardize != "zscore" and self.restoration_head == "code":
            raise ValueError(
                "--restoration-head: expected paper with a mean and a standard deviation in --standardize, because the "
                "other one ends in a sigmoid and cannot reach targets outside of 0...1"
            )
        if self.dims == 3 and 1 in (self.crop[0], self.local_crop[0]):
            raise ValueError("dims: expected 2 for views of one voxel along D, got 3")

    def _check_local_crop(self) -> None:
        """Check that a local view fits the levels of the network."""
        stride, edges = _STRIDES[self.network], self.local_crop[3 - self.dims :]
        got = " ".join(map(str, self.local_crop))
        if any(edge % stride for edge in edges):
            raise ValueError(f"--local-crop: expected multiples of {stride}, got {got}")
        if self.network in BLOCKS and all(edge == stride for edge in edges):
            raise ValueError(f"--local-crop: expected more than {stride} along some axis, got {got}")

    def samples(self) -> dali_cr.Views:
        """Return the recipe of samples."""
        return dali_cr.Views(
            shape=self.crop,
            sizes=self.sizes,
            overlap=self.overlap,
            locals=self.locals,
            local_shape=self.local_crop,
            local_sizes=self.local_sizes,
            area=self.area,
            local_area=self.local_area,
            swap=self.swap,
            flips=self.flips,
            scale=self.scale,
            degrees=self.degrees,
            blur=self.blur,
            noise=self.noise,
            gamma=self.gamma,
            blur_probability=self.blur_probability,
            isotropic_blur=self.blur_std == "view",
            brightness=self.brightness,
            contrast=self.contrast,
            cutout=self.cutout,
            standardize=self.standardize,
            normalize=self.per_dataset("normalize", self.normalize),
            foreground=self.foreground,
            spacing=self.per_dataset("spacing", self.spacing),
        )

    def with_steps(self, cases: int) -> Pcrlv2Config:
        """Return the settings with --epochs converted to steps for a number of cases."""
        if self.steps is not None:
            return self
        return replace(self, steps=math.ceil(self.epochs * self.epoch_samples * cases / self.step_samples))

    def follow(self, earlier: PretrainConfig) -> PretrainConfig:
        """Return the settings of a resumed run: changed epochs change the steps, unless --steps is given."""
        assert isinstance(earlier, Pcrlv2Config)
        longer = (self.epochs, self.epoch_samples) != (earlier.epochs, earlier.epoch_samples)
        return replace(self, steps=None) if longer and self.steps == earlier.steps else self

    def steps_known(self, earlier: dict[str, Any]) -> int | None:
        """Return the steps to train if given, or if the run to resume has the same epochs; None otherwise."""
        was = earlier["config"]
        names = ("epochs", "epoch_samples", "batch_size", "accumulate")
        same = all(was.get(name, 1) == getattr(self, name) for name in names)  # earlier versions did not accumulate
        return self.steps or (was["steps"] if same else None)
