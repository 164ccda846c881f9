"""Draw predicted masks and boxes over their images, one PNG file per case.

::

    python -m train.predict runs/seg --data new/ --out predictions/
    python -m train.overlay predictions/ --data new/ --out pictures/

For a volume, the slice across D with the largest mask is drawn, or the slice through the centre of the boxes; boxes
that the slice does not intersect are dashed. The legend names the classes, the title the case and the slice;
``--labels`` draws the target beside the prediction. The last line of the output is a JSON report.
"""

from __future__ import annotations

if __name__ == "__main__":
    from .start.interrupt import quit_on_interrupt

    quit_on_interrupt("overlay")

from .start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tyro

import dali_cr
from dali_cr.index.scan import EVERY_VOLUME
from dali_cr.index.volumes import Case
from dali_cr.system.owner import refuse_full

from .data.boxes import box_of, read_boxes, to_canonical
from .data.cases import open_index
from .data.classes import find_names
from .data.labels import Labels, by_listed_pairs, find_label_files, match, read_labels
from .data.masks import mask_path
from .data.split.make import load_split
from .data.split.parts import PartOption, current_part
from .data.volumes import read_grey
from .output.figure import origin_of, write_figure
from .output.names import picture_name, place_all
from .output.overlay_figure import Drawing, Slice, draw_overlay
from .output.palette import Palette
from .output.predictions import read_predictions
from .run.config.data import DataSettings
from .start.command import asked, end, own, read_arguments
from .start.trained import Trained, fill_in

_UNNAMED = re.compile(r"label (\d+)")
"""Name of a class without a name."""


@dataclass(frozen=True, kw_only=True)
class OverlayConfig(DataSettings):
    """Draw predictions over their images."""

    predictions: tyro.conf.Positional[Path]
    """Data: folder written by `dali-cr predict`."""
    out: Path
    """Output: folder for the pictures, new or empty."""
    part: PartOption = "test"
    """Data: part of --split to draw; without a split, all data."""
    labels: Path | None = None
    """Labels: targets to draw beside the predictions: a folder of label volumes or a CSV file of boxes."""
    label_pattern: tuple[str, ...] = EVERY_VOLUME
    """Labels: globs of the files in the folder --labels; {case} stands for the case's name."""
    names: Path | None = None
    """Labels: for boxes of label volumes, JSON file with the names of the labels, such as {"1": "liver"}; by default a
    dataset.json beside labels or images."""
    most: int = 16
    """Output: maximum number of cases to draw, the first by name."""

    counts: ClassVar[tuple[str, ...]] = ("most",)


def main(config: OverlayConfig) -> dict[str, Any]:
    """Draw the cases that have a prediction, and return the report.

    Raises
    ------
    Refused
        If the settings or the data are invalid.
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
    task: dict[str, Any] = {}
    if made := read_predictions(config.predictions):
        config = fill_in(config, Trained(made["config"], tuple(made["data"]["channel_names"])))
        task = made["network"]["task"]
    split, part = load_split(config.split) if config.split else None, current_part(config.part)
    index = open_index(config, split=split, parts=(part,))
    if split:
        index = split.take(index, part)
    boxes = read_predicted_boxes(config.predictions)
    found = [(case, one) for case in index.cases if (one := find_drawing(config.predictions, case, boxes)) is not None]
    if not found:
        raise ValueError(f"predictions: expected masks or boxes of these cases, {config.predictions} has none")
    found = found[: config.most]
    places = place_all(((case.name, picture_name(case)) for case, _ in found), config.out)
    targets = find_targets(config, index, [case for case, _ in found], task)
    palette, count = read_palette(task), 0
    for case, drawing in found:
        target = targets.of(case)
        count += target is not None
        draw_case(index.root, case, drawing, target, palette, places[case.name])
    print(f"pictures   {len(places)} in {config.out}" + (f", {count} with their target" if config.labels else ""))
    report = {"predictions": str(config.predictions), "out": str(config.out), "pictures": len(places)}
    return {**report, "targets": count}


def read_palette(task: Mapping[str, Any]) -> Palette:
    """Return the colours of the classes that a task was trained on, from its entry in predict.json."""
    classes = task.get("classes", [])
    return Palette(dict(zip(task.get("values", []), classes, strict=False)), classes)


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


@dataclass(frozen=True)
class Targets:
    """Targets of cases: boxes of a table, or label volumes."""

    task: Mapping[str, Any]
    """Task of the predictions; empty if unknown."""
    boxes: Mapping[str, Mapping[str, npt.NDArray[np.float64]]] = field(default_factory=dict)
    """Boxes by case and name, along the file's axes."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Label volumes by case."""
    members: Mapping[str, list[int]] = field(default_factory=dict)
    """Label values of each organ whose box is drawn; empty for masks."""

    def of(self, case: Case) -> Drawing | None:
        """Return the target of a case; None if it has none."""
        if case.name in self.boxes:
            own, geometry = self.boxes[case.name], case.volumes[0].geometry
            return Drawing(boxes={name: to_canonical(box[None], geometry)[0] for name, box in own.items()})
        if case.name not in self.files:
            return None
        labels = read_labels(self.files[case.name], case)
        if not self.members:
            return Drawing(_as_written(labels, self.task))
        boxes = box_of(np.stack([np.isin(labels, values) for values in self.members.values()]))
        return Drawing(boxes=_known(dict(zip(self.members, boxes, strict=True))))


def find_targets(
    config: OverlayConfig, index: dali_cr.Index, cases: Sequence[Case], task: Mapping[str, Any]
) -> Targets:
    """Return the targets of --labels.

    Raises
    ------
    ValueError
        If they cannot be read or match no case.
    """
    if config.labels is None:
        return Targets(task)
    names = [case.name for case in cases]
    if not config.labels.is_dir():
        organs, rows = read_boxes(config.labels, ())
        found, _ = match(names, rows, "row of boxes", "leave")
        return Targets(task, {case: _known(dict(zip(organs, rows[row], strict=True))) for case, row in found.items()})
    files = find_label_files(config.labels, config.label_pattern)
    if named := find_names(config.names, config.labels, config.data):
        files = by_listed_pairs(files, index, named.pairs)
    found, _ = match(names, files, "label", "leave")
    members = _members(task, named.classes if named else {})
    return Targets(task, files={case: files[name] for case, name in found.items()}, members=members)


def _known(boxes: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the boxes of contoured organs."""
    return {name: box for name, box in boxes.items() if not np.isnan(box).any()}


def _members(task: Mapping[str, Any], named: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return the label values of each organ whose box was predicted.

    Raises
    ------
    ValueError
        If no label has the name of an organ.
    """
    if task.get("name") != "localize":
        return {}
    members = {}
    for organ in task["classes"]:
        number = _UNNAMED.fullmatch(organ)
        if organ not in named and not number:
            raise ValueError(f"--names: expected a label for each organ, got none for {organ}; add it to the file")
        members[organ] = list(named[organ]) if organ in named else [int(number[1])] if number else []
    return members


def _as_written(labels: Labels, task: Mapping[str, Any]) -> Labels:
    """Return labels with the values of predicted masks; unchanged if the task is unknown."""
    if "members" not in task:
        return labels
    written = np.zeros_like(labels)
    for value, member in zip(task["values"], task["members"], strict=True):
        written[np.isin(labels, member)] = value
    return written


def draw_case(root: Path, case: Case, drawing: Drawing, target: Drawing | None, palette: Palette, path: Path) -> None:
    """Draw a slice of a case's first channel with the prediction and, if known, the target beside it, as PNG."""
    volume = case.volumes[0]
    image = read_grey(root, case)
    at = (drawing or target or drawing).slice_of(len(image))
    panels = {"predicted": drawing, **({"target": target} if target is not None else {})}
    title = case.name + (f", slice {at} across D (0 to {len(image) - 1})" if len(image) > 1 else "")
    shown = Slice(image[at], at, volume.spacing[1:], origin_of(case))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(draw_overlay(shown, panels, palette, title), path, dpi=120)


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    config = read_arguments(OverlayConfig, "overlay", arguments)
    return end("overlay", lambda: main(config))


if __name__ == "__main__":
    sys.exit(command_line())
