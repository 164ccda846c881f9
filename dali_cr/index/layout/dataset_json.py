"""Read `dataset.json` of nnU-Net and the Medical Segmentation Decathlon: channels, labels, regions, training cases.

nnU-Net 2 writes ``"labels": {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3]}``, where a list of several
labels is a region, and ``regions_class_order``, the label that a mask has for each region. The Decathlon and nnU-Net 1
write ``"labels": {"0": "background", "1": "liver"}``. A file that contains only such a mapping is also read.
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
    """A training case: its images (one per channel, or one 4-D file) and its label volume."""

    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class DatasetJson:
    """Content of a `dataset.json`.

    Attributes
    ----------
    path : Path
    channels : tuple of str
        Names by number; empty if the file has none. Names may repeat, as nnU-Net allows.
    labels : dict of str to tuple of int
        Label values by name, in the order of the file, with the background (0) and the ignore label.
    regions : bool
        Whether some name has several label values; names may then share values.
    order : tuple of int
        `regions_class_order`: the label that a mask has for each of `classes`; empty if the file has none.
    pairs : tuple of Pair
        Training cases; empty if the file lists none.
    file_ending : str
        Suffix of the images, such as ".png"; empty if the file has none.
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
        """The classes to segment: `labels` without the background and the ignore label."""
        return {name: values for name, values in self.labels.items() if values != (0,) and name != IGNORE}

    @property
    def ignore(self) -> int | None:
        """The label of voxels without annotation, if there is one."""
        return self.labels[IGNORE][0] if IGNORE in self.labels else None


def find_dataset_json(folders: Iterable[Path]) -> Path | None:
    """Return the first `dataset.json` in one of the folders or its parent; None if there is none."""
    for folder in folders:
        for candidate in (folder, folder.absolute().parent):
            if (candidate / FILE_NAME).is_file():
                return candidate / FILE_NAME
    return None


def read_dataset_json(path: Path) -> DatasetJson:
    """Read a `dataset.json`, or a JSON file with only the names of labels.

    Labels with the same name are merged into one class.

    Raises
    ------
    ValueError
        If the file is invalid, a label has two names, or `regions_class_order` does not fit the regions.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=JsonObject)
        if not isinstance(content, JsonObject):
            raise ValueError("expected a JSON object")
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
        raise ValueError(f"regions_class_order: expected a label for each of {len(regions)} regions, got {found.order}")
    for number, (value, (name, members)) in enumerate(zip(found.order, regions, strict=True)):
        if value not in members:
            raise ValueError(f"regions_class_order: expected one of {list(members)} for {name!r}, got {value}")
        for later, others in regions[number + 1 :]:
            if value in others:
                raise ValueError(
                    f"regions_class_order: expected a label of {name!r} only, got {value}, of {later!r} too"
                )


def _channels(content: JsonObject) -> tuple[str, ...]:
    """Return the names of the channels, sorted by number."""
    named = content.get("channel_names") or content.get("modality") or JsonObject()
    if not isinstance(named, JsonObject):
        return tuple(map(clean_name, [named] if isinstance(named, str) else named))
    names = {as_number(key): clean_name(name) for key, name in named}
    if sorted(names) != list(range(len(named))):
        raise ValueError(f"channel_names: expected numbers from 0 on, got {', '.join(key for key, _ in named)}")
    return tuple(names[number] for number in range(len(names)))


def _pairs(content: JsonObject, folder: Path) -> tuple[Pair, ...]:
    """Return the training cases, from the Decathlon's "training" or nnU-Net's "dataset"."""
    listed = [case for _, case in content.get("dataset") or ()] or content.get("training") or []
    pairs = []
    for case in listed if isinstance(listed, list) else ():
        if not isinstance(case, JsonObject):
            continue
        images, label = case.get("images") or case.get("image"), case.get("label")
        if isinstance(label, str) and images:
            files = images if isinstance(images, list) else [images]
            pairs.append(Pair(tuple(_resolve(folder, image) for image in files), _resolve(folder, label)))
    return tuple(pairs)


def _resolve(folder: Path, text: str) -> Path:
    """Return the path of a file, relative to the folder of the `dataset.json`, with environment variables expanded."""
    return Path(os.path.normpath(folder / os.path.expandvars(text)))
