"""Presets: default settings from published pre-training recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PresetName = Literal["mae-nnssl"]


@dataclass(frozen=True)
class Preset:
    """Defaults that replace those of `train.methods.restoration.RestorationConfig`."""

    source: str
    """Source code and paper."""
    settings: Mapping[str, Any]
    """Default by name of the setting; the command line overrides them."""
    differs: tuple[str, ...]
    """Remaining differences to the source, one line each."""


PRESETS: dict[PresetName, Preset] = {
    "mae-nnssl": Preset(
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
    )
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
