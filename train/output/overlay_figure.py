"""Figure of a slice with masks or boxes over it, prediction beside target, and a legend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .figure import Origin
from .palette import OPACITY, Palette

_INCHES = 5
_MOST_NAMES = 40
"""Maximum number of classes in a legend."""


@dataclass(frozen=True)
class Drawing:
    """Masks and boxes to draw over a case."""

    labels: npt.NDArray[np.uint8] | None = None
    """Label volume (D, H, W)."""
    boxes: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """Canonical box (2, 3) by name."""

    def __bool__(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.boxes) or (self.labels is not None and bool(self.labels.any()))

    def slice_of(self, depth: int) -> int:
        """Return the slice across D that shows most of it."""
        if self.labels is not None and self.labels.any():
            return int((self.labels > 0).sum((1, 2)).argmax())
        centres = [box[:, 0].mean() for box in self.boxes.values()]
        return int(np.clip(np.mean(centres), 0, depth - 1)) if centres else depth // 2

    def names(self, palette: Palette) -> list[str]:
        """Return the names of its classes over all slices."""
        values = [] if self.labels is None else np.unique(self.labels).tolist()
        return [*(palette.name(value) for value in values if value), *self.boxes]


@dataclass(frozen=True)
class Slice:
    """A slice of an image."""

    image: npt.NDArray[np.float32]
    """Image (H, W), from 0 to 1."""
    at: int
    """Number of the slice across D."""
    pixel: tuple[float, float]
    """Height and width of a pixel in mm."""
    origin: Origin
    """Position of the first row."""


def draw_overlay(shown: Slice, panels: Mapping[str, Drawing], palette: Palette, title: str) -> Figure:
    """Return a figure with a panel for each drawing over the same slice, and one legend below.

    Parameters
    ----------
    shown : Slice
    panels : mapping of str to Drawing
        Drawings by heading, from left to right.
    palette : Palette
    title : str
        Name of the case, and the slice.
    """
    rows, columns = shown.image.shape
    height = _INCHES * rows * shown.pixel[0] / (columns * shown.pixel[1])
    names = list(dict.fromkeys(name for one in panels.values() for name in one.names(palette)))
    across = 2 * len(panels)
    lines = -(-min(len(names), _MOST_NAMES + 1) // across)
    figure = Figure(figsize=(_INCHES * len(panels), height + 0.7 + 0.22 * lines), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for axes, (heading, drawing) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        aspect = shown.pixel[0] / shown.pixel[1]
        axes.imshow(shown.image, cmap="gray", vmin=0, vmax=1, origin=shown.origin, aspect=aspect)
        axes.set_axis_off()
        axes.set_title(heading, fontsize=9)
        if drawing.labels is not None:
            _draw_mask(axes, drawing.labels[shown.at], palette, shown.origin, aspect)
        for name, box in drawing.boxes.items():
            _draw_box(axes, name, box, shown.at, palette.colour(name))
    if names:
        patches = [Patch(color=palette.colour(name), label=name) for name in names[:_MOST_NAMES]]
        if more := len(names) - _MOST_NAMES:
            patches += [Patch(color="none", label=f"and {more} more")] if more > 0 else []
        figure.legend(handles=patches, loc="outside lower center", ncols=across, fontsize=8, frameon=False)
    return figure


def _draw_mask(axes: Axes, labels: npt.NDArray[np.uint8], palette: Palette, origin: Origin, aspect: float) -> None:
    tint = np.zeros((*labels.shape, 4))
    for value in np.unique(labels).tolist():
        if value:
            tint[labels == value] = (*palette.colour(palette.name(value)), OPACITY)
    axes.imshow(tint, origin=origin, aspect=aspect, interpolation="nearest")


def _draw_box(axes: Axes, name: str, box: npt.NDArray[np.float64], at: int, colour: tuple[float, float, float]) -> None:
    # Matplotlib draws voxel n from n - 0.5 to n + 0.5; in a box it extends from n to n + 1.
    (first, top, left), (last, bottom, right) = box - 0.5
    style = "solid" if first <= at <= last else "dashed"
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2, linestyle=style)
    )
    axes.annotate(name, (left, top), (4, 3), textcoords="offset points", color=colour, fontsize=8, va="bottom")
