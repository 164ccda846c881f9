"""`Plans`: the plans of a batch as arrays, and single plans as `SamplePlan`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.ops.cpu.boxes import Swaps
from dali_cr.plan.affine import Flags, Floats, Ints
from dali_cr.plan.crops.augmentation import Augmentation
from dali_cr.plan.sample import AffineView, SamplePlan, View
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import crop_map


class Sampler(Protocol):
    """Draws the boxes of samples.

    Attributes
    ----------
    boxes : int
        Number of boxes per array.
    masks : bool
        Whether boxes are masked instead of swapped; the second origin of a box is then unused.
    """

    boxes: int
    masks: bool

    def draw(self, numbers: npt.NDArray[Any]) -> Swaps:
        """Draw (B, groups, boxes, 3, 3) int32, read-only."""

    def draw_on_gpu(self, numbers: Any) -> Any:
        """Draw the same boxes on the GPU, as CuPy arrays."""


@dataclass(frozen=True, eq=False)
class Plans:
    """Plans of B samples of V views each; `plans[i]` is the `SamplePlan` of one.

    Attributes
    ----------
    index : Index
        Index with the cases.
    sampler : Sampler
        Sampler of the swaps.
    numbers : (B,) int64
        Sample numbers.
    cases : (B,) int64
        Positions of the cases in the index.
    attempts : (B,) int64
        Number of unreadable cases that were drawn before.
    boxes : (B, 2, 3) int64
        Start and stop of the canonical box of the volume from which a sample is made.
    origins : (B, V, 3) int64
        As `View.origin`.
    flips : (B, V, 3) bool
    swaps : (B, G, T, 3, 3) int32 or None
        Swaps or masked blocks of the first G views, read-only; None if not drawn.
    matrices : (B, V, 3, 3) float64 or None
        ``matrix @ voxel + offset`` is the position of a voxel of a view in the canonical volume; None without
        resampling.
    offsets : (B, V, 3) float64 or None
    augmentation : Augmentation or None
        Augmentation of crops; None if the recipe has none.
    """

    index: Index
    sampler: Sampler
    numbers: Ints
    cases: Ints
    attempts: Ints
    boxes: Ints
    origins: Ints
    flips: Flags
    swaps: Swaps | None
    matrices: Floats | None
    offsets: Floats | None
    augmentation: Augmentation | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[SamplePlan]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> SamplePlan:
        case = int(self.cases[i])
        swaps = self.sampler.draw(self.numbers[i : i + 1 or None])[0] if self.swaps is None else self.swaps[i]
        return SamplePlan(
            number=int(self.numbers[i]),
            case=case,
            path=self.index.cases[case].volumes[0].path,
            attempt=int(self.attempts[i]),
            views=self._views(i, swaps),
        )

    def _views(self, i: int, swaps: Swaps) -> tuple[View, ...]:
        """Return the views of a sample."""
        view = View(_triple(self.origins[i, 0]), _triple(self.flips[i, 0]), swaps[0])
        if self.sampler.masks:
            view = replace(view, swaps=np.empty((0, 3, 3), np.int32), mask=swaps[0][:, ::2])
        return (self._augment(i, view) if self.augmentation else view,)

    def _augment(self, i: int, view: View) -> AffineView:
        """Return a view with its augmentation."""
        assert self.augmentation is not None
        drawn, shape = self.augmentation, self.index.cases[int(self.cases[i])].shape
        if self.matrices is None or self.offsets is None:
            matrix, offset = crop_map(view.origin, view.flips, drawn.crop, shape, shape)
        else:
            matrix, offset = self.matrices[i, 0], self.offsets[i, 0]
        return AffineView(
            **vars(view),
            size=drawn.crop,
            shape=drawn.crop,
            angles=_triple(drawn.angles[i]),
            scales=_triple(drawn.scales[i]),
            blur=(0.0, 0.0, 0.0),
            noise=float(drawn.stds[i]),
            gamma=float(drawn.exponents[i]),
            matrix=matrix,
            offset=offset,
        )


@dataclass(frozen=True, eq=False)
class ViewPlans(Plans):
    """Plans of B multi-view samples of V views each: the global ones, then the local ones.

    Attributes
    ----------
    shapes : tuple of V (3,) int
        Shapes of the views.
    sizes : (B, V, 3) int64
        Sizes of their boxes.
    angles : (B, V, 3) float64
        Rotation angles about D, H and W, in degrees.
    scales : (B, V, 3) float64
        Scale factors of D, H and W.
    intensities : (B, V, 8) float32
        Standard deviations of the blur along D, H and W in voxels of the view, standard deviation of the noise,
        exponent, factors of brightness and contrast, and 1 if the contrast is changed first, else 0.
    holes : (B, 2, N, 3, 3) int32 or None
        Holes of the global views: origin, zeros and size; None if there are none.
    """

    matrices: Floats
    offsets: Floats
    shapes: tuple[Triple, ...]
    sizes: Ints
    angles: Floats
    scales: Floats
    intensities: npt.NDArray[np.float32]
    holes: npt.NDArray[np.int32] | None = None

    def _views(self, i: int, swaps: Swaps) -> tuple[View, ...]:
        none = np.empty((0, 3, 3), np.int32)
        holes = none[None] if self.holes is None else self.holes[i]
        views = []
        for v, shape in enumerate(self.shapes):
            *blur, noise, gamma, brightness, contrast, first = self.intensities[i, v].tolist()
            view = AffineView(
                origin=_triple(self.origins[i, v]),
                flips=_triple(self.flips[i, v]),
                swaps=swaps[v] if v < len(swaps) else none,
                size=_triple(self.sizes[i, v]),
                shape=shape,
                angles=_triple(self.angles[i, v]),
                scales=_triple(self.scales[i, v]),
                blur=(blur[0], blur[1], blur[2]),
                noise=noise,
                gamma=gamma,
                matrix=self.matrices[i, v],
                offset=self.offsets[i, v],
                brightness=brightness,
                contrast=contrast,
                contrast_first=bool(first),
                holes=(holes[v] if v < len(holes) else none)[:, ::2],
            )
            views.append(view)
        return tuple(views)


class Planner(Protocol):
    """Plans samples of an index with a recipe and a seed.

    Attributes
    ----------
    index : Index
        Index with the cases of the plans.
    recipe : Restoration or Views
    seed : int
    sampler : Sampler
    """

    index: Index
    recipe: Any
    seed: int
    sampler: Sampler

    @property
    def epoch_length(self) -> int:
        """Samples in an epoch."""

    @property
    def weights(self) -> dict[str, float] | None:
        """Weights of the data sets; None if a pass covers all cases."""

    def plan(self, numbers: npt.ArrayLike, broken: Collection[int] = (), *, swaps: bool = True) -> Plans:
        """Plan samples; samples of broken cases are redrawn from other cases."""


def _triple(row: npt.NDArray[Any]) -> tuple[Any, Any, Any]:
    """Return three numbers as Python numbers."""
    d, h, w = row.tolist()
    return d, h, w
