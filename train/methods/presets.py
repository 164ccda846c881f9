"""Published ways to pre-train, as tables of settings: `--preset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PresetName = Literal["mae-nnssl"]


@dataclass(frozen=True)
class Preset:
    """Defaults of `train.methods.restoration.RestorationConfig` in place of its own."""

    source: str
    """Where they are from."""
    settings: Mapping[str, Any]
    """From the name of a setting to its value; what is typed comes before it."""
    differs: tuple[str, ...]
    """What its source does and no setting here: one line each."""


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
            "weights begin as nnU-Net's do (He, the last norm of a block at 0); nnssl: as PyTorch's layers do",
            "each case is taken once an epoch; nnssl: images drawn with replacement",
            "crops are drawn from whole volumes in RAS+; nnssl: cropped to their non-zero box, axes as in the file",
            "voxels keep their size without --spacing and are interpolated linearly; nnssl: 1 mm, the median or their "
            "own, as its plan says, by cubic splines",
            "rotated and scaled crops are interpolated linearly; nnssl: by cubic splines",
            "the content is scaled by a uniform factor; nnssl: the coordinates, as often by less than 1 as by more",
            "the learning rate falls at every step; nnssl: after each 250",
            "a GPU computes in bfloat16; nnssl: in float16 with a scaled loss",
            "the last weights are kept; nnssl: also those of the lowest loss on held-out images",
            "--held-out is 0.1 of the subjects; nnssl: 0.01, from 5 to 1,000",
        ),
    )
}


def describe(name: PresetName, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that say what a preset is, which of its settings a run changes, and what is not as in its source.

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
        yield f"changed    {', '.join(f'{name} {_words(value)}' for name, value in changed.items())}"
    yield from (f"differs    {line}" for line in preset.differs)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
