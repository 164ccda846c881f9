"""From the settings of a fine-tuning run to its task: labels found, checked against the images, and told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dali_cr
from dali_cr.index.cases import Case
from dali_cr.volume.geometry import VolumeError

from ..data.boxes import Walls, box_of, read_boxes, to_canonical
from ..data.labels import Unmatched, find_label_files, match, read_labels, read_names, share_labels
from ..data.split import PARTS, Split
from ..data.subjects import short_name
from ..data.tables import choose_columns, read_table
from .classify import Classification
from .config import Classify, Config, Localize, Segment
from .localize import Localization
from .segment import Segmentation
from .task import Task, View

Parts = Mapping[str, dali_cr.Index]
"""The labelled cases of pool, val and test."""


@dataclass(frozen=True)
class Supervised:
    """Cases that have labels, by part, and the names of their labels."""

    parts: dict[str, dali_cr.Index]
    names: dict[str, str]
    """From a case to the name of its label."""
    left: list[str]
    """Lines about images and labels without a counterpart."""

    @property
    def cases(self) -> list[tuple[str, Case]]:
        """Every labelled case, with its part."""
        return [(part, case) for part, index in self.parts.items() for case in index.cases]


def open_task(config: Config, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
    """Return the task that settings ask for, and its cases.

    Raises
    ------
    TypeError
        If the settings are of no task.
    ValueError
        If it cannot be learnt from its labels.
    """
    if isinstance(config, Segment):
        return open_segmentation(config, index, split, view)
    if isinstance(config, Localize):
        return open_localization(config, index, split, view)
    if isinstance(config, Classify):
        return open_classification(config, index, split, view)
    raise TypeError(f"config: expected the settings of a task, got {type(config).__name__}")


def join(index: dali_cr.Index, split: Split, names: Mapping[str, Any], what: str, unmatched: Unmatched) -> Supervised:
    """Put the cases of a split and their labels together.

    Raises
    ------
    ValueError
        If one has no counterpart, a part is empty, or two images with one label are in two parts.
    """
    parts: dict[str, dali_cr.Index] = {part: split.take(index, part) for part in PARTS}
    inside = [case.name for part in parts.values() for case in part.cases]
    # Labels of images that are in no part of the split are nobody's concern.
    others = {case.name for case in index.cases} - set(inside)
    passed_over = others | {short_name(name) for name in others}
    known = {name: entry for name, entry in names.items() if not {name, short_name(name)} & passed_over}
    found, left = match(inside, known, what, unmatched)
    split.refuse_shared(share_labels(found), f"share a {what}")
    for part, one in parts.items():
        cases = tuple(case for case in one.cases if case.name in found)
        if not cases:
            raise ValueError(f"labels: wanted a {what} for some case of {part}, got none for {one.cases[0].name}")
        parts[part] = dali_cr.Index(one.root, cases, channel_names=one.channel_names)
    return Supervised(parts, found, left)


def find_shared(config: Config, index: dali_cr.Index) -> list[list[str]]:
    """Return the cases of each label that several have, before they are split.

    Raises
    ------
    ValueError
        If there are no labels, or none fits.
    """
    in_files = config.task == "segment" or (config.task == "localize" and config.labels.is_dir())
    pattern = getattr(config, "label_pattern", ())
    names: Mapping[str, Any] = find_label_files(config.labels, pattern) if in_files else read_table(config.labels)[1]
    return share_labels(match([case.name for case in index.cases], names, "label", "leave")[0])


def open_segmentation(config: Segment, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
    """Return the task of segmenting what the label volumes of a folder show.

    Raises
    ------
    ValueError
        If they cannot be learnt from.
    """
    if all(case.shape[0] == 1 for case in index.cases):
        view = replace(view, slices="D")  # images are slices already
    joined, paths = _join_files(config, index, split)
    found = {case.name: np.unique(read_labels(paths[case.name], case)).tolist() for _, case in joined.cases}
    for _, case in joined.cases:
        if found[case.name] == [0] and not config.keep_empty:
            raise VolumeError(paths[case.name], "empty: wanted a labelled voxel. --keep-empty takes it as it is")
    named = _classes_of_pool(joined, found, config.names)
    classes, own = list(named), list(named.values())
    members = [[value] for value in own]
    if config.regions:
        parsed = [_parse_region(text, own) for text in config.regions]
        classes, members = [name for name, _ in parsed], [member for _, member in parsed]
        own = _own_values(classes, members)
    kind: dict[str, Any] = {"regions": bool(config.regions), "absent": config.absent}
    return Segmentation(classes, view, members=members, values=own, files=paths, **kind), joined


def _join_files(config: Segment | Localize, index: dali_cr.Index, split: Split) -> tuple[Supervised, dict[str, Path]]:
    """Put cases and label volumes together; return them, and from a case to its label's file."""
    files = find_label_files(config.labels, config.label_pattern)
    joined = join(index, split, files, "label", config.unmatched)
    return joined, {case: files[name] for case, name in joined.names.items()}


def _classes_of_pool(joined: Supervised, found: Mapping[str, list[int]], names: Path | None) -> dict[str, int]:
    """Return the labels of the pool by what they are called; those of val and test must be among them."""
    values = sorted({v for case in joined.parts["pool"].cases for v in found[case.name]} - {0})
    if not values:
        raise ValueError("labels: wanted a labelled voxel in some case of the pool, got none")
    for part, case in joined.cases:
        if strange := sorted(set(found[case.name]) - {0, *values}):
            raise ValueError(
                f"labels: wanted every class in the pool, label {strange[0]} is in {case.name} of {part} and in no "
                "case of the pool"
            )
    called = read_names(names)
    return {called.get(value, f"label {value}"): value for value in values}


def _parse_region(text: str, values: list[int]) -> tuple[str, list[int]]:
    """Read "tumour=1+2+4", or "1+2+4"."""
    name, _, numbers = text.rpartition("=")
    try:
        members = [int(number) for number in numbers.split("+")]
    except ValueError as error:
        raise ValueError(f"regions: wanted labels as tumour=1+2+4, got {text!r}") from error
    missing = sorted(set(members) - set(values))
    if missing:
        raise ValueError(f"regions: wanted labels among {values}, which the pool has; got {missing[0]} in {text!r}")
    return name or numbers, members


def _own_values(classes: list[str], members: list[list[int]]) -> list[int]:
    """Return what each region is written with: its least label that no later region has."""
    own = []
    for place, member in enumerate(members):
        rest = sorted(set(member) - {value for later in members[place + 1 :] for value in later})
        if not rest:
            raise ValueError(
                f"regions: wanted the wider region before the narrower, {classes[place]} has no label that the "
                "regions after it have not"
            )
        own.append(rest[0])
    return own


def open_localization(config: Localize, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
    """Return the task of finding the boxes of a CSV file, or those of what the label volumes of a folder show.

    Raises
    ------
    ValueError
        If they cannot be learnt from.
    """
    if not config.labels.is_dir():
        organs, boxes = read_boxes(config.labels, config.columns)
        joined = join(index, split, boxes, "row of boxes", config.unmatched)
        walls = {
            case.name: to_canonical(boxes[joined.names[case.name]], case.volumes[0].geometry)
            for _, case in joined.cases
        }
        _check_inside(joined, organs, walls)
    else:
        joined, paths = _join_files(config, index, split)
        found = {case.name: _boxes_by_value(paths[case.name], case) for _, case in joined.cases}
        every = _classes_of_pool(joined, {name: list(boxes) for name, boxes in found.items()}, config.names)
        organs = choose_columns(config.labels, list(every), config.columns)
        nowhere = np.full((2, 3), np.nan)
        walls = {
            name: np.stack([boxes.get(every[organ], nowhere) for organ in organs]) for name, boxes in found.items()
        }
    for place, organ in enumerate(organs):
        if all(np.isnan(walls[case.name][place]).any() for case in joined.parts["pool"].cases):
            raise ValueError(f"labels: wanted every organ contoured in the pool, {organ} is in no case of it")
    return Localization(organs, view, walls=walls, **config.moves), joined


def _boxes_by_value(path: Path, case: Case) -> dict[int, Walls]:
    """Return the box of each label in a volume."""
    labels = read_labels(path, case)
    values = [value for value in np.unique(labels).tolist() if value]
    return {value: box_of(labels[None] == value)[0] for value in values}


def _check_inside(joined: Supervised, organs: list[str], walls: Mapping[str, Walls]) -> None:
    for _, case in joined.cases:
        for organ, box in zip(organs, walls[case.name], strict=True):
            if (box < 0).any() or (box > np.array(case.shape)).any():
                raise ValueError(f"labels: wanted boxes inside of their image, that of {organ} leaves {case.name}")


def open_classification(config: Classify, index: dali_cr.Index, split: Split, view: View) -> tuple[Task, Supervised]:
    """Return the task of telling the classes of a CSV file.

    Raises
    ------
    ValueError
        If they cannot be learnt from.
    """
    labels = config.labels
    every, rows = read_table(labels)
    chosen = choose_columns(labels, every, config.columns)
    joined = join(index, split, rows, "row", config.unmatched)
    texts = {case.name: [rows[joined.names[case.name]][column] for column in chosen] for _, case in joined.cases}
    if config.multilabel:
        classes, flags = chosen, {name: _read_flags(labels, name, text) for name, text in texts.items()}
    else:
        if len(chosen) != 1:
            raise ValueError(
                f"columns: wanted the one that holds the class, got {', '.join(chosen)}. With --multilabel each is a "
                "class of its own, 1 or 0"
            )
        classes = sorted({text[0] for text in texts.values()})
        flags = {name: np.array([text[0] == one for one in classes]) for name, text in texts.items()}
    _check_classes(joined, classes, flags)
    return Classification(classes, view, multilabel=config.multilabel, flags=flags, **config.moves), joined


def _read_flags(path: Path, case: str, texts: list[str]) -> npt.NDArray[np.bool_]:
    if not set(texts) <= {"0", "1"}:
        strange = next(text for text in texts if text not in ("0", "1"))
        raise ValueError(f"labels: wanted 0 or 1 for each class of {case} in {path}, got {strange!r}")
    return np.array([text == "1" for text in texts])


def _check_classes(joined: Supervised, classes: list[str], flags: Mapping[str, npt.NDArray[np.bool_]]) -> None:
    if len(classes) < 2 and flags and all(flag.all() for flag in flags.values()):
        raise ValueError(f"labels: wanted two classes or more, got {', '.join(classes)} alone")
    for place, name in enumerate(classes):
        if not any(flags[case.name][place] for case in joined.parts["pool"].cases):
            raise ValueError(f"labels: wanted every class in the pool, {name!r} is in no case of it")
