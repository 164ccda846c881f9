"""Creation of a fine-tuning task from its settings: reading and checking of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dali_cr
from dali_cr.index.label_names import refuse_lookalikes
from dali_cr.index.layout.dataset_json import DatasetJson
from dali_cr.index.volumes import Case
from dali_cr.volume.geometry import VolumeError

from ..data.boxes import Boxes, box_of, read_boxes, to_canonical
from ..data.classes import find_classes, find_names
from ..data.label_values import check_depths
from ..data.labels import by_listed_pairs, find_label_files, match, read_labels, share_labels
from ..data.split.parts import Split
from ..data.tables import choose_columns, load_table, read_table, rows_with_values
from .classify import Classification
from .config.finetune import FinetuneConfig
from .config.segment import Segment
from .config.whole import Classify, Localize
from .localize import Localization
from .segment import Segmentation
from .supervised import Supervised, join
from .task import Task, TaskInput

_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True}
"""Values of a multi-label column; pandas writes 0.0 and 1.0 if the column has empty cells."""


def open_task(config: FinetuneConfig, index: dali_cr.Index, split: Split, view: TaskInput) -> tuple[Task, Supervised]:
    """Return the task of the settings, and its labelled cases.

    Raises
    ------
    TypeError
        If the settings belong to no task.
    ValueError
        If the labels are invalid or do not match the images.
    """
    if isinstance(config, Segment):
        return open_segmentation(config, index, split, view)
    if isinstance(config, Localize):
        return open_localization(config, index, split, view)
    if isinstance(config, Classify):
        return open_classification(config, index, split, view)
    raise TypeError(f"config: expected the settings of a task, got {type(config).__name__}")


def cases_sharing_labels(config: FinetuneConfig, index: dali_cr.Index) -> list[list[str]]:
    """Return the groups of cases that share a label, before a split is made.

    Raises
    ------
    ValueError
        If there are no labels, or none matches an image.
    """
    names: Mapping[str, Any]
    if isinstance(config, Segment) or (isinstance(config, Localize) and config.labels.is_dir()):
        names = _label_files(config, index, find_names(config.names, config.labels, config.data))
    else:
        names = read_table(config.labels)[1]
    return share_labels(match([case.name for case in index.cases], names, "label", "leave")[0])


def open_segmentation(config: Segment, index: dali_cr.Index, split: Split, view: TaskInput) -> tuple[Task, Supervised]:
    """Return the segmentation task of a folder of label volumes.

    Raises
    ------
    ValueError
        If the labels are invalid or do not match the images.
    """
    if all(case.shape[0] == 1 for case in index.cases):
        view = replace(view, slices="D")  # images are slices already
    named = find_names(config.names, config.labels, config.data)
    joined, paths = _join_files(config, index, split, named)
    found = {case.name: np.unique(read_labels(paths[case.name], case)).tolist() for _, case in joined.cases}
    for _, case in joined.cases:
        if found[case.name] == [0] and not config.keep_empty:
            raise VolumeError(paths[case.name], "empty: expected a labelled voxel; --keep-empty keeps empty labels")
    check_depths({paths[name]: values for name, values in found.items()})
    classes = find_classes(joined.by_part(found), named, config.regions)
    if classes.regions and config.absent == "unlabelled":
        raise ValueError("absent: expected empty with regions, got unlabelled, which needs disjoint classes")
    kind: dict[str, Any] = {"regions": classes.regions, "absent": config.absent, "affine": config.affine}
    kind["loss"] = config.loss
    members = list(classes.members.values())
    task = Segmentation(list(classes.members), view, members=members, values=classes.values, files=paths, **kind)
    return task, replace(joined, notes=(*joined.notes, *classes.notes))


def _join_files(
    config: Segment | Localize, index: dali_cr.Index, split: Split, named: DatasetJson | None
) -> tuple[Supervised, dict[str, Path]]:
    """Match cases with label volumes; return the labelled cases, and the label file of each case."""
    files = _label_files(config, index, named)
    joined = join(index, split, files, "label", config.unmatched)
    return joined, {case: files[name] for case, name in joined.names.items()}


def _label_files(config: Segment | Localize, index: dali_cr.Index, named: DatasetJson | None) -> dict[str, Path]:
    """Return label files by name: the case that `dataset.json` pairs them with, or else the file's own name."""
    files = find_label_files(config.labels, config.label_pattern)
    return by_listed_pairs(files, index, named.pairs) if named else files


def open_localization(config: Localize, index: dali_cr.Index, split: Split, view: TaskInput) -> tuple[Task, Supervised]:
    """Return the localisation task of a CSV file of boxes or a folder of label volumes.

    Raises
    ------
    ValueError
        If the labels are invalid or do not match the images.
    """
    if not config.labels.is_dir():
        organs, every = read_boxes(config.labels, config.columns)
        refuse_lookalikes(organs)
        boxes = {case: box for case, box in every.items() if not np.isnan(box).all()}
        empty = {case: box for case, box in every.items() if case not in boxes}
        joined = join(index, split, boxes, "row of boxes", config.unmatched, empty)
        notes = (*load_table(config.labels).notes, *_gaps(organs, boxes), *_skipped(config.labels, len(empty)))
        joined = replace(joined, notes=notes)
        canonical = {
            case.name: to_canonical(boxes[joined.names[case.name]], case.volumes[0].geometry)
            for _, case in joined.cases
        }
        _check_inside(joined, organs, canonical)
    else:
        named = find_names(config.names, config.labels, config.data)
        joined, paths = _join_files(config, index, split, named)
        found = {case.name: _boxes_by_value(paths[case.name], case) for _, case in joined.cases}
        check_depths({paths[name]: list(boxes) for name, boxes in found.items()})
        classes = find_classes(joined.by_part({name: list(boxes) for name, boxes in found.items()}), named)
        joined = replace(joined, notes=(*joined.notes, *classes.notes))
        organs = choose_columns(config.labels, list(classes.members), config.columns)
        canonical = {
            name: np.stack([_around([boxes[v] for v in classes.members[organ] if v in boxes]) for organ in organs])
            for name, boxes in found.items()
        }
    for place, organ in enumerate(organs):
        if all(np.isnan(canonical[case.name][place]).any() for case in joined.parts["train"].cases):
            raise ValueError(f"labels: expected every organ in some case of train, got none with {organ}")
    return Localization(organs, view, boxes=canonical, **config.moves), joined


def _boxes_by_value(path: Path, case: Case) -> dict[int, Boxes]:
    """Return the bounding box of each label in a volume."""
    labels = read_labels(path, case)
    values = [value for value in np.unique(labels).tolist() if value]
    return {value: box_of(labels[None] == value)[0] for value in values}


def _around(boxes: Sequence[Boxes]) -> Boxes:
    """Return the bounding box of boxes; NaN if there are none."""
    if not boxes:
        return np.full((2, 3), np.nan)
    return np.stack([np.min([box[0] for box in boxes], 0), np.max([box[1] for box in boxes], 0)])


def _check_inside(joined: Supervised, organs: list[str], boxes: Mapping[str, Boxes]) -> None:
    for _, case in joined.cases:
        for organ, box in zip(organs, boxes[case.name], strict=True):
            if (box < 0).any() or (box > np.array(case.shape)).any():
                raise ValueError(
                    f"labels: expected boxes inside their image, the box of {organ} is partly outside of {case.name}"
                )


def open_classification(
    config: Classify, index: dali_cr.Index, split: Split, view: TaskInput
) -> tuple[Task, Supervised]:
    """Return the classification task of a CSV file.

    Raises
    ------
    ValueError
        If the labels are invalid or do not match the images.
    """
    labels = config.labels
    table = load_table(labels)
    chosen = choose_columns(labels, table.columns, config.columns)
    rows, empty = rows_with_values(table, chosen)
    joined = join(index, split, rows, "row", config.unmatched, empty)
    joined = replace(joined, notes=(*table.notes, *_skipped(config.labels, len(empty))))
    texts = {case.name: rows[joined.names[case.name]] for _, case in joined.cases}
    if config.multilabel:
        classes, flags = chosen, {name: _read_flags(labels, name, text) for name, text in texts.items()}
    else:
        if len(chosen) != 1:
            raise ValueError(
                f"columns: expected one column with the class, got {', '.join(chosen)}; with --multilabel, each "
                "column is a class with values 0 and 1"
            )
        classes = sorted({text[0] for text in texts.values()})
        flags = {name: np.array([text[0] == one for one in classes]) for name, text in texts.items()}
    refuse_lookalikes(classes)
    _check_classes(joined, classes, flags)
    options: dict[str, Any] = {"multilabel": config.multilabel, "metric": config.metric, **config.moves}
    return Classification(classes, view, flags=flags, **options), joined


def _skipped(path: Path, count: int) -> list[str]:
    """Return a line about the number of rows with missing values."""
    return [f"{count} row{'s' * (count != 1)} of {path.name} with a missing value: skipped"] if count else []


def _gaps(organs: Sequence[str], boxes: Mapping[str, npt.NDArray[np.float64]]) -> list[str]:
    """Return a line about organs without a box in some rows."""
    missing = np.isnan(list(boxes.values())).any((2, 3)).sum(0) if boxes else np.zeros(len(organs), int)
    texts = [f"{organ} in {count}" for organ, count in zip(organs, missing.tolist(), strict=True) if count]
    return [f"not contoured, of {len(boxes)} rows: {', '.join(texts)}"] if texts else []


def _read_flags(path: Path, case: str, texts: list[str]) -> npt.NDArray[np.bool_]:
    if strange := [text for text in texts if text not in _FLAGS]:
        raise ValueError(f"labels: expected 0 or 1 for each class of {case} in {path}, got {strange[0]!r}")
    return np.array([_FLAGS[text] for text in texts])


def _check_classes(joined: Supervised, classes: list[str], flags: Mapping[str, npt.NDArray[np.bool_]]) -> None:
    if len(classes) < 2 and flags and all(flag.all() for flag in flags.values()):
        raise ValueError(f"labels: expected two classes or more, got {', '.join(classes)} alone")
    for place, name in enumerate(classes):
        if not any(flags[case.name][place] for case in joined.parts["train"].cases):
            raise ValueError(f"labels: expected every class in some case of train, got none with {name!r}")
