"""Presets: the settings of published pre-training recipes, as tables of defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PresetName = Literal["mae-nnssl"]


@dataclass(frozen=True)
class Preset:
    """Defaults of `train.methods.restoration.RestorationConfig` in place of its own."""

    source: str
    """Code and paper."""
    settings: Mapping[str, Any]
    """Defaults by the name of a setting; options on the command line override them."""
    differs: tuple[str, ...]
    """Differences to the source that no setting removes, one line each."""


PRESETS: dict[PresetName, Preset] = {
    "mae-nnssl": Preset(
        source="BaseMAETrainer_BS8 of MIC-DKFZ/nnssl at commit 70448644 (Wald et al., CVPR 2025)",
        settings={
            "pretext": "mae",
            "mask_ratio": 0.75,
            "mask_block": (16,),
            "network": "resenc-l",  # with skips, as without --no-skips
            "crop": (160, 160, 160),
            "batch_size": 8,
            "steps": 1000 * 250,
            "optimizer": "sgd",  # with Nesterov momentum of 0.99, as without --momentum
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
            "weights are initialised as in nnU-Net (He, last norm of a block 0); nnssl: PyTorch's defaults",
            "each case is sampled once per epoch; nnssl: images are drawn with replacement",
            "the channels of a case are restored together; nnssl: each image by itself",
            "crops are sampled from whole volumes in RAS+; nnssl: from their non-zero box, in the file's orientation",
            "voxels keep their size without --spacing, else linear interpolation; nnssl: 1 mm, the median or their own "
            "by its plan, cubic splines",
            "rotated and scaled crops have linear interpolation; nnssl: cubic splines",
            "the content is scaled, by a uniform factor; nnssl: the coordinates, below and above 1 equally often",
            "the learning rate decays at every step; nnssl: after every 250 steps",
            "a GPU computes in bfloat16; nnssl: in float16 with a scaled loss",
            "the last weights are kept; nnssl: also those with the lowest loss on held-out images",
            "--held-out is 0.1 of the subjects; nnssl: 0.01, from 5 to 1,000",
        ),
    )
}


def describe(name: PresetName, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about the source of a preset, the settings that a run changes, and the remaining differences.

    Parameters
    ----------
    name : str
    settings : mapping
        Of the run.
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
