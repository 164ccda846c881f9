"""Draw multi-view samples: positions of the views in the volume, clean, corrupted and local views."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dali_cr.ops.decode import decode_channel
from dali_cr.pipeline.multiview.samples import MultiView
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.plan.sample import AffineView, SamplePlan, views_of
from dali_cr.plan.stream import Stream
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.read.boxes import read_boxes
from dali_cr.read.normalize import rescale_of
from dali_cr.recipe.per_dataset import normalize_of
from dali_cr.recipe.views import GLOBALS
from dali_cr.volume.geometry import Triple
from dali_cr.volume.images import ORIENTATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Pictures = list[tuple[str, npt.NDArray[np.float32], float]]
"""Name, image, and ratio of a voxel's height to its width."""

_COLOURS = ("tab:orange", "tab:cyan")
"""Colours of the two global views."""

_LOCAL_COLUMNS = 3


@dataclass(frozen=True)
class ViewRow:
    """One sample: a slice of its volume and the middle slices of its views."""

    plan: SamplePlan
    place: int
    """Slice number of the volume, through the middle of the first view."""
    pictures: Pictures
    upwards: bool
    """Whether rows start at the bottom; false for images."""

    @property
    def height(self) -> float:
        """Ratio of the tallest panel's height to its width."""
        return max(float(aspect * picture.shape[0] / picture.shape[1]) for _, picture, aspect in self.pictures)

    @property
    def columns(self) -> int:
        """Number of panels."""
        return len(self.pictures)

    def draw(self, strip: SubFigure) -> None:
        """Draw the panels."""
        strip.suptitle(f"{self.plan.path}, sample {self.plan.number}", x=0.01, ha="left", fontsize=8)
        axes = strip.subplots(1, self.columns)
        for axis, (name, picture, aspect) in zip(axes, self.pictures, strict=True):
            clean = {"vmin": 0.0, "vmax": 1.0} if name.startswith(("volume", "target")) else {}
            axis.imshow(picture, cmap="gray", origin="lower" if self.upwards else "upper", aspect=aspect, **clean)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(name, fontsize=8)
        self._draw_outlines(axes[0])

    def _draw_outlines(self, axis: Axes) -> None:
        """Draw the outlines of the views' boxes in the slice of the volume."""
        from matplotlib.patches import Polygon

        limits = axis.get_xlim(), axis.get_ylim()
        for v, view in enumerate(views_of(self.plan)):
            points = outline(view, self.place)
            if len(points):
                line = {"color": _COLOURS[v], "linewidth": 1.5} if v < GLOBALS else {"color": "w", "linewidth": 0.7}
                axis.add_patch(Polygon(points[:, ::-1], closed=True, fill=False, **line))
        # Boxes may exceed the volume; keep the limits of the slice.
        axis.set(xlim=limits[0], ylim=limits[1])


def outline(view: AffineView, place: int) -> npt.NDArray[np.float64]:
    """Return the corners (h, w) of the intersection of a view's box with a slice of the volume, in order.

    Parameters
    ----------
    view : AffineView
    place : int
        Slice number along D.

    Returns
    -------
    points : (corners, 2) float64
        Empty if the slice does not intersect the box.
    """
    ends = np.array(list(product(*((-0.5, length - 0.5) for length in view.shape))))
    corners = ends @ view.matrix.T + view.offset
    edges = [(a, b) for a, b in product(range(8), repeat=2) if a < b and (a ^ b).bit_count() == 1]
    points = []
    for a, b in edges:
        below, above = corners[a, 0] - place, corners[b, 0] - place
        if below * above < 0 or (below == 0) != (above == 0):
            points.append(corners[a] + (corners[b] - corners[a]) * (below / (below - above)))
    if not points:
        return np.empty((0, 2))
    flat = np.array(points)[:, 1:]
    around = flat - flat.mean(0)
    order: npt.NDArray[np.float64] = flat[np.argsort(np.arctan2(around[:, 0], around[:, 1]))]
    return order


def make_row(planner: ViewPlanner, number: int) -> ViewRow:
    """Make a sample as a loader on the CPU does, and return its middle slices."""
    source = FinishedSource(MultiView(planner), Stream(batch_size=1, start=number), threads=1, lookahead=0)
    try:
        arrays = source.batch(0)
        view, target, local = (arrays[name][0] for name in source.samples.names)
        if planner.recipe.standardize != "zscore":
            mean, std = planner.recipe.standardize
            target = target * std + mean
        plan = planner.plan(number)[0]
        views = views_of(plan)
        middle = views[0].matrix @ ((np.array(views[0].shape) - 1) / 2) + views[0].offset
        shape = source.planner.index.cases[plan.case].shape
        place = int(np.clip(np.rint(middle[0]), 0, shape[0] - 1))
        slice_ = _read_slice(source, plan, place)
    finally:
        source.close()
    volume = planner.index.cases[plan.case].volumes[0]
    spacing = volume.spacing
    pictures: Pictures = [(f"volume, slice {place}", slice_, spacing[1] / spacing[2])]
    for name, arrays in (("target", target), ("view", view)):
        for v in range(GLOBALS):
            picture = arrays[v, 0, views[v].shape[0] // 2]
            pictures.append((f"{name} {v + 1}", picture, _aspect(views[v], spacing)))
    pictures.append(("local views", _mosaic(local[:, 0, local.shape[2] // 2]), 1.0))
    return ViewRow(plan, place, pictures, volume.orientation != ORIENTATION)


def _read_slice(source: FinishedSource, plan: SamplePlan, place: int) -> npt.NDArray[np.float32]:
    """Read one slice of the first channel, normalised."""
    case: Any = source.planner.index.cases[plan.case]
    _, height, width = case.shape
    out = np.empty((1, height, width), np.float32)
    root = source.planner.index.root
    for _, volume, raw in read_boxes(source.cache, root, case, (place, 0, 0), (place + 1, height, width), {0}):
        normalize = normalize_of(source.planner.recipe.normalize, case.dataset)
        decode_channel(raw, rescale_of(volume, normalize), out)
    picture: npt.NDArray[np.float32] = out[0]
    return picture


def _aspect(view: AffineView, spacing: Triple | tuple[float, float, float]) -> float:
    """Return the ratio of a voxel's height to its width in mm."""
    _, high, wide = np.linalg.norm(view.matrix * np.array(spacing)[:, None], axis=0).tolist()
    return float(high / wide)


def _mosaic(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return images (N, h, w) as a grid with separating lines."""
    rows = -(-len(pictures) // _LOCAL_COLUMNS)
    framed = np.pad(pictures, ((0, rows * _LOCAL_COLUMNS - len(pictures)), (0, 1), (0, 1)), constant_values=np.nan)
    cells = framed.reshape(rows, _LOCAL_COLUMNS, *framed.shape[1:])[::-1]
    mosaic: npt.NDArray[np.float32] = cells.transpose(0, 2, 1, 3).reshape(rows * framed.shape[1], -1)
    return mosaic
