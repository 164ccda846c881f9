"""Settings of rotation and scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dali_cr.recipe.augment import NO_SCALE, check_augmentation

from .training import RunSettings


@dataclass(frozen=True, kw_only=True)
class AffineSettings(RunSettings):
    """Settings of rotation and scaling."""

    rotate: float = 0.0
    """Augmentation: rotate crops about each axis by up to this angle in degrees; 0 is off, nnU-Net and nnssl use 30."""
    scale: tuple[float, float] = NO_SCALE
    """Augmentation: scale the content of crops by a factor from LOW to HIGH; 1 1 is off, nnU-Net and nnssl use
    0.7 1.4."""
    augment_probability: float = 0.2
    """Augmentation: probability of a rotation, and, independently, of a scaling."""

    def __post_init__(self) -> None:
        """Check the settings that do not need the data."""
        own = {"degrees": "rotate", "affine_probability": "augment_probability"}
        try:
            check_augmentation({"noise": 0.0, "gamma": 0.0, "intensity_probability": 1.0, **self.augmentation})
        except ValueError as error:
            name, said = str(error).split(":", 1)
            raise ValueError(f"--{own.get(name, name).replace('_', '-')}:{said}") from None
        super().__post_init__()

    @property
    def augmentation(self) -> dict[str, Any]:
        """Augmentation fields of `dali_cr.Restoration`."""
        return {"degrees": self.rotate, "scale": self.scale, "affine_probability": self.augment_probability}

    @property
    def affine(self) -> bool:
        """Whether crops may be rotated or scaled."""
        return self.rotate > 0 or self.scale != NO_SCALE

    @property
    def augments(self) -> list[str]:
        """Descriptions of the augmentations of crops."""
        rotated = [f"rotated by up to {self.rotate:g}°"] * (self.rotate > 0)
        scaled = [f"scaled by {self.scale[0]:g} to {self.scale[1]:g}"] * (self.scale != NO_SCALE)
        return [*rotated, *scaled]
