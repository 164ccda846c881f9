"""`Recipe`: what every kind of recipe has, beside the fields of its own."""

from __future__ import annotations

from typing import Any, Protocol

from dali_cr.recipe.per_dataset import Normalizes, Spacings
from dali_cr.volume.geometry import Triple


class Recipe(Protocol):
    """What a loader must know of a recipe; `dali_cr.pipeline.graph.RECIPES` says what plans and makes its samples."""

    @property
    def normalize(self) -> Normalizes:
        """As in `Restoration`."""

    @property
    def dtype(self) -> Any:
        """Of the samples: "float32" or "float16"."""

    @property
    def spacing(self) -> Spacings:
        """As in `Restoration`."""

    @property
    def boxes(self) -> tuple[Triple, ...]:
        """Shapes (D, H, W) of the boxes that are cut from volumes, in voxels of `spacing`."""

    @property
    def fingerprint(self) -> str:
        """Hash of the fields."""
