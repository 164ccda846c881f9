"""Presets: default settings from published pre-training recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

RestorationPreset = Literal["mae-nnssl"]
Pcrlv2Preset = Literal["pcrlv2-2d"]
PresetName = RestorationPreset | Pcrlv2Preset


@dataclass(frozen=True)
class Preset:
    """Defaults that replace those of the settings of a recipe."""

    recipe: Literal["restoration", "pcrlv2"]
    """Recipe of the settings."""
    source: str
    """Source code and paper."""
    settings: Mapping[str, Any]
    """Default by name of the setting; the command line overrides them."""
    differs: tuple[str, ...]
    """Remaining differences to the source, one line each."""


PRESETS: dict[PresetName, Preset] = {
    "mae-nnssl": Preset(
        recipe="restoration",
        source="BaseMAETrainer_BS8 of MIC-DKFZ/nnssl at commit 70448644 (Wald et al., CVPR 2025)",
        settings={
            "pretext": "mae",
            "mask_ratio": 0.75,
            "mask_block": (16,),
            "network": "resenc-l",  # with skips, the default
            "crop": (160, 160, 160),
            "batch_size": 8,
            "steps": 1000 * 250,
            "optimizer": "sgd",  # with Nesterov momentum 0.99, the default
            "lr": 1e-2,
            "schedule": "poly",
            "warmup": 0.0,
            "weight_decay": 3e-5,
            "clip": 12.0,
            "normalize": "zscore-image",
            "foreground": 0.0,
            "flips": ("D", "H", "W"),
            "rotate": 30.0,
            "scale": (0.7, 1.4),
            "augment_probability": 0.2,
        },
        differs=(
            "initial weights are those of nnU-Net (He, last norm of a block 0); nnssl: PyTorch's",
            "each case is sampled once per epoch; nnssl: images are drawn with replacement",
            "the channels of a case are one input; nnssl: each image is an input",
            "crops are sampled from whole volumes in RAS+; nnssl: from their non-zero box, in the file's orientation",
            "images are resampled linearly, only with --spacing; nnssl: by its plan to 1 mm, to the median or not, "
            "with cubic splines",
            "rotation and scaling interpolate linearly; nnssl: with cubic splines",
            "the scale of the content is uniform; nnssl: that of the coordinates, below and above 1 equally often",
            "the learning rate decays at every step; nnssl: after every 250 steps",
            "mixed precision is bfloat16; nnssl: float16 with loss scaling",
            "the last weights are saved; nnssl: also those with the lowest loss on held-out images",
            "--held-out is 0.1 of the subjects; nnssl: 0.01, at least 5 and at most 1,000",
        ),
    ),
    "pcrlv2-2d": Preset(
        recipe="pcrlv2",
        source="train_2d.py and data.py of RL4M/PCRLv2 at commit 6634bef6, for ChestX-ray14 (Zhou et al., TPAMI 2023)",
        settings={
            "dims": 2,
            "network": "resnet18",
            "restoration_head": "paper",  # that of the 2-D code
            "crop": (1, 224, 224),
            "area": (0.3, 1.0),
            "local_crop": (1, 96, 96),
            "local_area": (0.05, 0.3),
            "foreground": 0.0,
            "flips": ("W",),
            "scale": 0.0,
            "degrees": 10.0,
            "blur": 2.0,
            "blur_probability": 0.5,
            "blur_std": "view",
            "noise": 0.0,
            "gamma": 0.0,
            "brightness": 0.4,
            "contrast": 0.4,
            "iterations": 0,
            "cutout": (3, 32),
            "normalize": ("window", 0.0, 255.0),
            "standardize": (0.449, 0.226),
            "epoch_samples": 1,
            "batch_size": 64,
            "lr": 1e-2,
        },
        differs=(
            "images have one channel; code: three equal ones, whose change to grey, saturation and hue has no effect",
            "--standardize has the average of ImageNet's means and stds over the channels; code: one for each channel",
            "corners of rotated views show the image around the box; code: black, and nearest-neighbour interpolation",
            "views are interpolated without an antialiasing filter, and intensities are not rounded; code: 8 bits",
            "standard deviations of the blur are drawn from 0 to 2, of a Gaussian; code: 0.1 to 2, box filters",
            "initial weights are random, unless --encoder-weights imagenet is given; code: ImageNet's in the encoder",
            "the learning rate and the weight of a level's restoration change at every step, for 240 epochs; code: "
            "after every epoch, for 241",
            "the last weights are saved; code: also those after 100 and 200 epochs",
        ),
    ),
}


def describe(name: PresetName, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about the source of a preset, the settings that a run changes, and the remaining differences.

    Parameters
    ----------
    name : str
    settings : mapping
        Settings of the run.
    """
    preset = PRESETS[name]
    yield f"preset     {name}: {preset.source}"
    changed = {name: settings[name] for name, value in preset.settings.items() if settings[name] != value}
    if changed:
        yield f"changed    {' '.join(map(_option, changed.items()))}"
    yield from (f"differs    {line}" for line in preset.differs)


def _option(setting: tuple[str, Any]) -> str:
    name, value = setting
    return f"--{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
