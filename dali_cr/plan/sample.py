"""`SamplePlan`, `View` and `AffineView`: the plan of one sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from dali_cr.volume.geometry import Triple

Numbers = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class View:
    """One crop of a sample.

    Attributes
    ----------
    origin : (3,) int
        Origin of the crop in the canonical volume, in voxels of the recipe's spacing; negative if the crop exceeds the
        volume. With slices: slice number, row and column.
    flips : (3,) bool
        Which of the crop's axes are flipped after cropping.
    swaps : (T, 3, 3) int32
        Swaps in the flipped crop; empty for masked samples.
    mask : (M, 2, 3) int32
        Origin and size of each masked block in the flipped crop; empty for swapped samples.
    """

    origin: Triple
    flips: tuple[bool, bool, bool]
    swaps: npt.NDArray[np.int32]
    mask: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2, 3), np.int32), kw_only=True)


@dataclass(frozen=True, eq=False)
class AffineView(View):
    """One affine view of a sample: of `Views`, or the crop of a `Restoration` with augmentation.

    `origin` is in voxels of the recipe's spacing, and may be negative.

    Attributes
    ----------
    size : (3,) int
        Size of the box.
    shape : (3,) int
        Shape of the view.
    angles : (3,) float
        Rotation angles about D, H and W, in degrees.
    scales : (3,) float
        Scale factors of D, H and W.
    blur : (3,) float
        Standard deviations along D, H and W, in voxels of the view.
    noise : float
        Standard deviation.
    gamma : float
        Exponent.
    matrix : (3, 3) float64
    offset : (3,) float64
        ``matrix @ voxel + offset`` is the position of a voxel of the view in the canonical volume.
    brightness, contrast : float
        Factors.
    contrast_first : bool
        Whether the contrast is changed before the brightness.
    holes : (N, 2, 3) int32
        Origin and size of each hole that is cut out.
    """

    size: Triple
    shape: Triple
    angles: Numbers
    scales: Numbers
    blur: Numbers
    noise: float
    gamma: float
    matrix: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    brightness: float = field(default=1.0, kw_only=True)
    contrast: float = field(default=1.0, kw_only=True)
    contrast_first: bool = field(default=False, kw_only=True)
    holes: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2, 3), np.int32), kw_only=True)

    @property
    def moved(self) -> bool:
        """Whether it is rotated or scaled."""
        return any(self.angles) or self.scales != (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """The plan of one sample.

    Attributes
    ----------
    number : int
        The sample number.
    case : int
        Position of the case in the index.
    path : str
        First file of the case, relative to the root of the index.
    attempt : int
        Number of unreadable cases that were drawn before.
    views : tuple of View
    """

    number: int
    case: int
    path: str
    attempt: int
    views: tuple[View, ...]

    @property
    def origin(self) -> Triple:
        """Origin of the first view."""
        return self.views[0].origin

    @property
    def flips(self) -> tuple[bool, bool, bool]:
        """Flips of the first view."""
        return self.views[0].flips

    @property
    def swaps(self) -> npt.NDArray[np.int32]:
        """Swaps of the first view."""
        return self.views[0].swaps

    @property
    def mask(self) -> npt.NDArray[np.int32]:
        """Masked blocks of the first view."""
        return self.views[0].mask


def views_of(plan: SamplePlan) -> tuple[AffineView, ...]:
    """Return the views of a multi-view plan: global views, then local views."""
    return cast("tuple[AffineView, ...]", plan.views)
