"""What a sample is made of: its case and its views."""

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
        Of the crop in the canonical volume, in voxels of the recipe's spacing; negative where the crop sticks out of
        it. With slices, the number of the slice, then row and column in it.
    flips : (3,) bool
        Which of the crop's axes are flipped after cropping.
    swaps : (T, 3, 3) int32
        In the crop, after the flips; none where it is masked.
    mask : (M, 2, 3) int32
        Origin and size of each masked block, likewise; none where patches are swapped.
    """

    origin: Triple
    flips: tuple[bool, bool, bool]
    swaps: npt.NDArray[np.int32]
    mask: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2, 3), np.int32), kw_only=True)


@dataclass(frozen=True, eq=False)
class AffineView(View):
    """One view of a sample; `origin` counts voxels of the recipe's spacing, and may be negative.

    Attributes
    ----------
    size : (3,) int
        Of its box.
    shape : (3,) int
        Of the array it becomes.
    angles : (3,) float
        By which it is turned about D, H and W, in degrees.
    scales : (3,) float
        By which D, H and W are stretched.
    blur : (3,) float
        Standard deviations along D, H and W, in voxels of the view.
    noise : float
        Standard deviation.
    gamma : float
        The exponent.
    matrix : (3, 3) float64
    offset : (3,) float64
        ``matrix @ place + offset`` is where in the canonical volume the view's voxel `place` is taken.
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


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """What a sample is made of.

    Attributes
    ----------
    number : int
        The sample number.
    case : int
        Place of its case in the index.
    path : str
        Of the case's first file, relative to the index's root.
    attempt : int
        How many cases before this one could not be read.
    views : tuple of View
    """

    number: int
    case: int
    path: str
    attempt: int
    views: tuple[View, ...]

    @property
    def origin(self) -> Triple:
        """The first view's."""
        return self.views[0].origin

    @property
    def flips(self) -> tuple[bool, bool, bool]:
        """The first view's."""
        return self.views[0].flips

    @property
    def swaps(self) -> npt.NDArray[np.int32]:
        """The first view's."""
        return self.views[0].swaps

    @property
    def mask(self) -> npt.NDArray[np.int32]:
        """The first view's."""
        return self.views[0].mask


def views_of(plan: SamplePlan) -> tuple[AffineView, ...]:
    """Return the views of a plan of several views: the global ones, then the local ones."""
    return cast("tuple[AffineView, ...]", plan.views)
