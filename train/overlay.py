"""Draw predicted masks and boxes over their images, one PNG file per case.

::

    python -m train.predict runs/seg --data new/ --out predictions/
    python -m train.overlay predictions/ --data new/ --out pictures/

For a volume, the slice across D with the largest mask is drawn, or the slice through the centre of the boxes; boxes
that the slice does not intersect are dashed. The last line of the output is a JSON report.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("overlay")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import numpy as np
import numpy.typing as npt
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dali_cr.index.volumes import Case
from dali_cr.system.owner import refuse_full
from dali_cr.volume.images import is_image

from .data.boxes import Boxes, to_canonical
from .data.cases import open_index
from .data.labels import Labels, read_labels
from .data.masks import mask_path
from .data.split import PartOption, current_part, load_split
from .data.volumes import read_case
from .methods.preview import Origin
from .output.figure import write_figure
from .output.names import picture_name, place_all
from .output.predictions import read_predictions
from .run.config import DataSettings
from .start.command import asked, end, own, read_arguments
from .start.trained import Trained, fill_in

_INCHES = 5
_COLOURS: list[Any] = list(matplotlib.color_sequences["tab10"])


@dataclass(frozen=True, kw_only=True)
class OverlayConfig(DataSettings):
    """Draw predictions over their images."""

    predictions: tyro.conf.Positional[Path]
    """Data: folder written by `dali-cr predict`."""
    out: Path
    """Output: folder for the pictures, new or empty."""
    part: PartOption = "test"
    """Data: part of --split to draw; without a split, all data."""
    most: int = 16
    """Output: maximum number of cases to draw, the first by name."""

    counts: ClassVar[tuple[str, ...]] = ("most",)


@dataclass(frozen=True)
class Drawing:
    """The predictions to draw over a case."""

    labels: Labels | None
    boxes: Mapping[str, Boxes]
    """Canonical boxes (2, 3) by name."""

    def slice_of(self, depth: int) -> int:
        """Return the slice across D to draw."""
        if self.labels is not None and self.labels.any():
            return int((self.labels > 0).sum((1, 2)).argmax())
        centres = [box[:, 0].mean() for box in self.boxes.values()]
        return int(np.clip(np.mean(centres), 0, depth - 1)) if centres else depth // 2


def main(config: OverlayConfig) -> dict[str, Any]:
    """Draw the cases that have a prediction, and return the report.

    Raises
    ------
    Refused
        If it cannot be done with these settings.
    """
    with own(config.out):
        return asked(lambda: _draw(config))


def _draw(config: OverlayConfig) -> dict[str, Any]:
    """Draw the cases into the locked output folder.

    Raises
    ------
    ValueError, OSError
        If there is nothing to draw, or the output folder cannot be used.
    """
    refuse_full(config.out)
    if made := read_predictions(config.predictions):
        config = fill_in(config, Trained(made["config"], tuple(made["data"]["channel_names"])))
    index = open_index(config)
    if config.split:
        index = load_split(config.split).take(index, current_part(config.part))
    boxes = read_predicted_boxes(config.predictions)
    found = [(case, one) for case in index.cases if (one := find_drawing(config.predictions, case, boxes))]
    if not found:
        raise ValueError(f"predictions: expected masks or boxes of these cases, {config.predictions} has none")
    places = place_all(((case.name, picture_name(case)) for case, _ in found[: config.most]), config.out)
    for case, drawing in found[: config.most]:
        draw_case(index.root, case, drawing, places[case.name])
    return {"predictions": str(config.predictions), "out": str(config.out), "pictures": len(places)}


def read_predicted_boxes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the boxes of boxes.json by case and name; empty if there is no such file."""
    path = folder / "boxes.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def find_drawing(folder: Path, case: Case, boxes: Mapping[str, Mapping[str, Any]]) -> Drawing | None:
    """Return the predictions of a case, None if there are none."""
    path = mask_path(case, folder)
    labels = read_labels(path, case) if path.exists() else None
    own = boxes.get(case.name, {})
    stored = {name: np.array([[box["lo"], box["hi"]]], np.float64) for name, box in own.items()}
    canonical = {name: to_canonical(box, case.volumes[0].geometry)[0] for name, box in stored.items()}
    return Drawing(labels, canonical) if labels is not None or canonical else None


def draw_case(root: Path, case: Case, drawing: Drawing, path: Path) -> None:
    """Draw a slice of a case's first channel with its predictions as a PNG file."""
    volume = case.volumes[0]
    image = read_case(root, case, "percentile")[0]
    at = drawing.slice_of(len(image))
    _, row_mm, column_mm = volume.spacing
    height, width = image.shape[1] * row_mm, image.shape[2] * column_mm
    figure = Figure(figsize=(_INCHES, _INCHES * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    # The rows of a volume run to anterior or superior, those of an image downwards.
    origin: Origin = "upper" if is_image(volume.path) else "lower"
    axes.imshow(image[at], cmap="gray", vmin=0, vmax=1, origin=origin, aspect=row_mm / column_mm)
    axes.set_axis_off()
    if drawing.labels is not None:
        _draw_mask(axes, drawing.labels[at], origin, row_mm / column_mm)
    for number, (name, box) in enumerate(drawing.boxes.items()):
        _draw_box(axes, name, box, at, _COLOURS[number % len(_COLOURS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(figure, path, dpi=120)


def _draw_mask(axes: Axes, labels: npt.NDArray[np.uint8], origin: Origin, aspect: float) -> None:
    tint = np.zeros((*labels.shape, 4))
    for number, value in enumerate(v for v in np.unique(labels).tolist() if v):
        tint[labels == value] = (*_COLOURS[number % len(_COLOURS)], 0.45)
    axes.imshow(tint, origin=origin, aspect=aspect, interpolation="nearest")


def _draw_box(axes: Axes, name: str, box: Boxes, at: int, colour: Any) -> None:
    # imshow centres voxel n at n, while in boxes voxel n extends from n to n + 1.
    (first, top, left), (last, bottom, right) = box - 0.5
    style = "solid" if first <= at <= last else "dashed"
    edge: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": 2, "linestyle": style}
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, **edge))
    axes.annotate(name, (left, top), (4, 3), textcoords="offset points", color=colour, fontsize=8, va="bottom")


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(OverlayConfig, "overlay", arguments)
    return end("overlay", lambda: main(config))


if __name__ == "__main__":
    sys.exit(command_line())
