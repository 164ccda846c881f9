"""`dataset.json` of nnU-Net and of the Medical Segmentation Decathlon: channels, labels and regions, pairs of files.

nnU-Net 2 writes ``"labels": {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3]}``, where a list of several is a
region, and in ``regions_class_order`` the label that each region is written with. The Decathlon (and nnU-Net 1) writes
``"labels": {"0": "background", "1": "liver"}``. A file that is such a mapping and nothing else is read too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dali_cr.index.label_names import IGNORE, JsonObject, as_number, clean_name, distinct, merged, read_members

FILE_NAME = "dataset.json"


@dataclass(frozen=True)
class Pair:
    """A training case: its images, one a channel or one 4-D file, and its label volume."""

    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class DatasetJson:
    """Content of a `dataset.json`.

    Attributes
    ----------
    path : Path
    channels : tuple of str
        By the channel's number; empty if the file names none. Two may be alike, as nnU-Net allows.
    labels : dict of str to tuple of int
        From each name to its label values, in the file's order, with the background (0) and the ignore label.
    regions : bool
        Whether some name has a list of several values: names may share values then.
    order : tuple of int
        `regions_class_order`: the label that each of `classes` is written with; empty if the file has none.
    pairs : tuple of Pair
        Training cases; empty if the file lists none.
    file_ending : str
        Suffix of the images, such as ".png"; empty if the file does not say.
    """

    path: Path
    channels: tuple[str, ...] = ()
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    regions: bool = False
    order: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()
    file_ending: str = ""

    @property
    def classes(self) -> dict[str, tuple[int, ...]]:
        """What is to be segmented: `labels` without the background and the ignore label."""
        return {name: values for name, values in self.labels.items() if values != (0,) and name != IGNORE}

    @property
    def ignore(self) -> int | None:
        """The label of voxels that are not annotated, if there is one."""
        return self.labels[IGNORE][0] if IGNORE in self.labels else None


def find_dataset_json(folders: Iterable[Path]) -> Path | None:
    """Return the first `dataset.json` that lies in one of the folders or beside it; None if there is none."""
    for folder in folders:
        for place in (folder, folder.absolute().parent):
            if (place / FILE_NAME).is_file():
                return place / FILE_NAME
    return None


def read_dataset_json(path: Path) -> DatasetJson:
    """Read a `dataset.json`, or a JSON file that only names labels.

    Two labels of one name are one class.

    Raises
    ------
    ValueError
        If it is no such file, a label has two names, or `regions_class_order` does not fit the regions.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=JsonObject)
        if not isinstance(content, JsonObject):
            raise ValueError("it is no object")
        keys = {key for key, _ in content}
        whole = path.name == FILE_NAME or bool(keys & {"labels", "channel_names", "modality", "training"})
        named = (content.get("labels") or JsonObject()) if whole else content
        members = read_members(named)
        regions = any(len(values) > 1 for _, values in members)
        labels = distinct(members) if regions else merged(members)
        order = tuple(map(int, content.get("regions_class_order") or ())) if whole and regions else ()
        found = DatasetJson(
            path,
            _channels(content) if whole else (),
            labels,
            regions,
            order,
            _pairs(content, path.parent) if whole else (),
            str(content.get("file_ending") or "") if whole else "",
        )
        _check_order(found)
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'expected JSON as {{"1": "liver"}} or {{"liver": 1}}, got {path}: {error}') from error


def _check_order(found: DatasetJson) -> None:
    """Raise ValueError unless each value of a mask stands for one set of regions."""
    regions = list(found.classes.items())
    if not found.order:
        return
    if len(found.order) != len(regions):
        raise ValueError(f"regions_class_order: expected {len(regions)} labels, one a region, got {list(found.order)}")
    for place, (value, (name, members)) in enumerate(zip(found.order, regions, strict=True)):
        if value not in members:
            raise ValueError(f"regions_class_order: expected {name!r} written as one of {list(members)}, got {value}")
        for later, others in regions[place + 1 :]:
            if value in others:
                raise ValueError(f"regions_class_order: {name!r} is written as {value}, which is of {later!r} too")


def _channels(content: JsonObject) -> tuple[str, ...]:
    """Return the names of the channels by their number."""
    named = content.get("channel_names") or content.get("modality") or JsonObject()
    if not isinstance(named, JsonObject):
        return tuple(map(clean_name, [named] if isinstance(named, str) else named))
    names = {as_number(key): clean_name(name) for key, name in named}
    if sorted(names) != list(range(len(named))):
        raise ValueError(f"channel_names: expected them numbered from 0 on, got {', '.join(key for key, _ in named)}")
    return tuple(names[number] for number in range(len(names)))


def _pairs(content: JsonObject, folder: Path) -> tuple[Pair, ...]:
    """Return the training cases of the Decathlon's list, or of nnU-Net's "dataset"."""
    listed = [case for _, case in content.get("dataset") or ()] or content.get("training") or []
    pairs = []
    for case in listed if isinstance(listed, list) else ():
        if not isinstance(case, JsonObject):
            continue
        images, label = case.get("images") or case.get("image"), case.get("label")
        if isinstance(label, str) and images:
            every = images if isinstance(images, list) else [images]
            pairs.append(Pair(tuple(_place(folder, image) for image in every), _place(folder, label)))
    return tuple(pairs)


def _place(folder: Path, text: str) -> Path:
    """Return a file's path, which is relative to the folder of the `dataset.json` or holds environment variables."""
    return Path(os.path.normpath(folder / os.path.expandvars(text)))
