"""`draw_preview`: draw samples with target, input and swaps.

A preview before training shows problems that no check finds: crops of air, a window that saturates, patches that are
too small or too large. Samples are made as by a loader on the CPU, without DALI.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.pipeline.advice import warn_of_blocks, warn_of_clipping, warn_of_padding, without_constant
from dali_cr.pipeline.pairs.samples import Pairs
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.plans import Planner
from dali_cr.plan.sample import AffineView, SamplePlan
from dali_cr.plan.stream import Stream
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.recipe.per_dataset import check_datasets, spacing_of
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views
from dali_cr.system.atomic import write_whole
from dali_cr.tools.preview_views import ViewRow, make_row
from dali_cr.volume.images import ORIENTATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.patches import Rectangle

_PANEL = 2.6
"""Width of a panel in inches."""

_CAPTIONS = 0.6
"""Height of the captions of a row in inches."""

_GOLDEN = 0.618034
"""Step between the hues of consecutive pairs, which makes neighbouring colours distinct."""


def draw_preview(
    index: Index, recipe: Restoration | Views, seed: int, samples: Sequence[int], out: str | os.PathLike[str]
) -> None:
    """Draw the middle slice of samples: target, input, and swaps or masked blocks in the slice.

    Both boxes of a swap have the same colour; a dashed box has its partner in another slice. Only the first channel is
    drawn. For `Views`: their positions in the volume, targets, corrupted global views and local views.

    Parameters
    ----------
    index : Index
    recipe : Restoration or Views
    seed : int
        Seed of the samples, as for `Loader`.
    samples : sequence of int
        Sample numbers, one per row.
    out : path
        Image file to write; the suffix determines the format.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no samples, a number is below 0, or the format of the file is unknown.
    VolumeError
        If a file cannot be read.

    Warns
    -----
    DataWarning
        If crops are larger than most volumes, a window clips most of the foreground, a mask has few blocks, or cases
        have constant foreground; such cases are excluded.
    """
    check_preview(samples, out)
    rows: Sequence[_Row | ViewRow]
    check_datasets(recipe, index)
    index = without_constant(index, recipe.normalize)
    warn_of_clipping(index, recipe.normalize)
    warn_of_blocks(recipe)
    if isinstance(recipe, Views):
        views = ViewPlanner(index, recipe, seed)
        warn_of_padding(views.index, recipe)
        rows = [make_row(views, number) for number in samples]
    else:
        planner = CropPlanner(index, recipe, seed)
        warn_of_padding(planner.index, recipe)
        rows = [_make(planner, number) for number in samples]
    heights = [_CAPTIONS + _PANEL * row.height for row in rows]
    figure = _figure_class()(figsize=(rows[0].columns * _PANEL, sum(heights)), layout="constrained")
    strips = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for strip, row in zip(strips, rows, strict=True):
        row.draw(strip)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=_format_of(out), dpi=120)
    write_whole(out, buffer.getvalue())


@dataclass(frozen=True)
class _Row:
    """The middle slice of one sample."""

    plan: SamplePlan
    middle: int
    target: npt.NDArray[Any]
    input: npt.NDArray[Any]
    span: tuple[float, float]
    """Lowest and highest value of the whole target, which is also the range of the input."""
    aspect: float
    """Ratio of a voxel's height to its width."""
    upwards: bool
    """Whether rows start at the bottom; false for images."""

    @property
    def height(self) -> float:
        """Ratio of a panel's height to its width."""
        height, width = self.target.shape
        return float(self.aspect * height / width)

    @property
    def columns(self) -> int:
        """Number of panels."""
        return 3

    def draw(self, strip: SubFigure) -> None:
        """Draw the panels."""
        plan = self.plan
        title = f"{plan.path}, sample {plan.number}, origin {plan.origin}{_describe(plan)}"
        strip.suptitle(title, x=0.01, ha="left", fontsize=8)
        drawn = ("masked blocks", self.target) if len(plan.mask) else ("swaps", self.input)
        panels = (("target", self.target), ("input", self.input), drawn)
        axes = strip.subplots(1, self.columns)
        low, high = self.span
        origin: Literal["lower", "upper"] = "lower" if self.upwards else "upper"
        for axis, (name, picture) in zip(axes, panels, strict=True):
            axis.imshow(picture, cmap="gray", vmin=low, vmax=high, origin=origin, aspect=self.aspect)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(name, fontsize=8)
        _draw_boxes(axes[-1], plan.swaps, self.middle)
        _draw_blocks(axes[-1], plan.mask, self.middle)


def check_preview(samples: Sequence[int], out: str | os.PathLike[str]) -> None:
    """Check the arguments of `draw_preview` that do not need the data.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no samples, a number is below 0, or the format of the file is unknown.
    """
    _figure_class()
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if not samples or min(samples) < 0:
        raise ValueError(f"samples: expected sample numbers of at least 0, got {list(samples)}")
    if _format_of(out) not in formats:
        raise ValueError(f"out: expected a file name that ends in one of {', '.join(sorted(formats))}, got {out}")


def _format_of(out: str | os.PathLike[str]) -> str:
    """Return the format of an image file, by its suffix."""
    return Path(out).suffix[1:].lower() or "png"


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'preview: expected matplotlib, which is missing; pip install ".[train]" in the checkout of dali-cr'
        ) from error
    # A Figure without pyplot uses Agg and needs no display.
    return Figure


def _make(planner: Planner, number: int) -> _Row:
    """Make the row of a sample."""
    source = FinishedSource(Pairs(planner), Stream(batch_size=1, start=number), threads=1, lookahead=0)
    try:
        arrays = source.batch(0)
        input, target = arrays["input"], arrays["target"]
    finally:
        source.close()
    plan, middle = planner.plan(number)[0], planner.recipe.crop[0] // 2
    case = planner.index.cases[plan.case]
    volume = case.volumes[0]
    _, high, wide = spacing_of(planner.recipe.spacing, case.dataset) or volume.spacing
    return _Row(
        plan=plan,
        middle=middle,
        target=target[0, 0, middle],
        input=input[0, 0, middle],
        span=(float(target[0, 0].min()), float(target[0, 0].max())),
        aspect=high / wide,
        upwards=volume.orientation != ORIENTATION,
    )


def _describe(plan: SamplePlan) -> str:
    """Return a text on the augmentation of a crop; empty if there is none."""
    view = plan.views[0]
    if not isinstance(view, AffineView):
        return ""
    angles = " ".join(f"{angle:.0f}°" for angle in view.angles)
    parts = (
        (any(view.angles), f"rotated {angles}"),
        (view.scales != (1, 1, 1), f"scaled {view.scales[2]:.2f}"),
        (view.noise > 0, f"noise {view.noise:.2f}"),
        (view.gamma != 1, f"gamma {view.gamma:.2f}"),
    )
    return "".join(f", {text}" for given, text in parts if given)


def _draw_boxes(axis: Axes, swaps: npt.NDArray[np.int32], middle: int) -> None:
    """Draw the boxes of swaps that intersect the slice `middle` of the crop."""
    from matplotlib.colors import hsv_to_rgb

    for pair, (origin_a, origin_b, size) in enumerate(swaps):
        cut = [origin for origin in (origin_a, origin_b) if _intersects(origin, size, middle)]
        for origin in cut:
            box = _rectangle(origin, size)
            box.set_linestyle("-" if len(cut) == 2 else (0, (2, 2)))
            box.set_edgecolor(tuple(hsv_to_rgb((pair * _GOLDEN % 1, 0.9, 1.0))))
            axis.add_patch(box)


def _draw_blocks(axis: Axes, blocks: npt.NDArray[np.int32], middle: int) -> None:
    """Draw the masked blocks that intersect the slice `middle` of the crop."""
    for origin, size in blocks:
        if _intersects(origin, size, middle):
            box = _rectangle(origin, size)
            box.set_edgecolor("tab:orange")
            axis.add_patch(box)


def _intersects(origin: npt.NDArray[np.int32], size: npt.NDArray[np.int32], middle: int) -> bool:
    return bool(origin[0] <= middle < origin[0] + size[0])


def _rectangle(origin: npt.NDArray[np.int32], size: npt.NDArray[np.int32]) -> Rectangle:
    """Return the outline of a box in a slice."""
    from matplotlib.patches import Rectangle

    return Rectangle((origin[2] - 0.5, origin[1] - 0.5), size[2], size[1], fill=False, linewidth=1)
