"""`Recipe`: the protocol of all recipes."""

from __future__ import annotations

from typing import Any, Protocol

from dali_cr.recipe.per_dataset import Normalizes, Spacings
from dali_cr.volume.geometry import Triple


class Recipe(Protocol):
    """Properties of a recipe that a loader uses; `dali_cr.pipeline.recipes.RECIPES` maps recipes to their classes."""

    @property
    def normalize(self) -> Normalizes:
        """As in `Restoration`."""

    @property
    def dtype(self) -> Any:
        """Dtype of the samples: "float32" or "float16"."""

    @property
    def spacing(self) -> Spacings:
        """As in `Restoration`."""

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """Shapes (D, H, W) of the boxes that samples are cut from, in voxels of `spacing`."""

    @property
    def fingerprint(self) -> str:
        """Hash of the fields."""
