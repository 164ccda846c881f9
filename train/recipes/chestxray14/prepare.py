"""Prepare ChestX-ray14 for pre-training and multi-label classification.

::

    python -m train.recipes.chestxray14.prepare data/ChestXray14 runs/chestxray14/data

The output folder has ``images.csv`` (the files), ``classes.csv`` (a column of 0 and 1 for each of the 14 findings),
``splits.json`` (the official test list; validation drawn by patient from the official training list), and ``grey/``
with copies of images that were published in colour.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import io
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from PIL import Image

from dali_cr.system.owner import own_folder

from ...data.split.parts import PARTS, Split
from ...start.command import asked, end, read_arguments
from ..folder import draw_subjects, find_named, images_csv, read_rows, refuse_missing, split_json, table, write_all

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
NONE = "No Finding"
SUBJECT = r"^(\d+)_\d+$"
"""Finds the patient in a case's name."""

_TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
_COLOUR_TYPE_AT, _COLOURED = 25, (2, 6)
"""Offset of the colour type in a PNG, in IHDR, and the types with red, green and blue."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare ChestX-ray14 for pre-training and multi-label classification."""

    source: tyro.conf.Positional[Path]
    """Data: folder with the table, the two lists, and the images in any subfolders."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the tables and the split."""
    val: float = 0.1
    """Split: fraction of the patients of the official training list for validation."""
    seed: int = 0
    """Split: seed of the random choice of these patients."""
    missing: Literal["refuse", "leave"] = "refuse"
    """Data: whether missing images of the lists are an error (refuse) or excluded (leave)."""


def read_findings(path: Path) -> dict[str, frozenset[str]]:
    """Return the findings of each image.

    Raises
    ------
    ValueError
        If a row is inconsistent.
    """
    found = {}
    for name, row in read_rows(path, ("Finding Labels", "Patient ID"), "Image Index").items():
        findings = frozenset(row["Finding Labels"].split("|"))
        if unknown := findings - {*FINDINGS, NONE}:
            raise ValueError(f"source: expected the 14 findings or {NONE!r}, {name} of {path} has {min(unknown)!r}")
        if NONE in findings and len(findings) > 1:
            raise ValueError(f"source: expected {NONE!r} alone, {name} of {path} has {row['Finding Labels']!r}")
        stem, _, number = name.removesuffix(".png").partition("_")
        if not (stem.isdecimal() and number.isdecimal() and row["Patient ID"] == str(int(stem))):
            raise ValueError(
                f"source: expected 00000001_000.png of patient 1, got {name} of {row['Patient ID']!r} in {path}"
            )
        found[name] = findings - {NONE}
    return found


def read_lists(source: Path, known: Mapping[str, Any], table: Path) -> dict[str, list[str]]:
    """Return the images of the official lists.

    Raises
    ------
    ValueError
        If the images of lists and table differ, or both lists have a patient.
    """
    texts = find_named(source, tuple(_LISTS.values()))
    refuse_missing(set(_LISTS.values()) - set(texts), "the official lists", "download them with the table")
    lists = {part: texts[name].read_text().split() for part, name in _LISTS.items()}
    listed = [name for names in lists.values() for name in names]
    if len(set(listed)) < len(listed):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise ValueError(f"source: expected each image in one list and once, got {twice} twice")
    refuse_missing(
        set(listed) - set(known), f"a row in {table.name} for each listed image", "take both from one source"
    )
    refuse_missing(set(known) - set(listed), f"each image of {table.name} in a list", "take both from one source")
    train, test = ({name.partition("_")[0] for name in lists[part]} for part in ("train", "test"))
    if shared := train & test:
        raise ValueError(f"source: expected each patient in one official list, {min(shared)} is in both")
    return lists


def grey_copies(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Return grey copies of images that are stored in colour, as PNG by file name.

    Raises
    ------
    ValueError
        If an image is not a PNG, or is not grey.
    """
    copies = {}
    for name, path in paths.items():
        with open(path, "rb") as file:
            head = file.read(_COLOUR_TYPE_AT + 1)
        if len(head) <= _COLOUR_TYPE_AT or not head.startswith(b"\x89PNG"):
            raise ValueError(f"source: expected PNG images, {path} is not a PNG; download it again")
        if head[_COLOUR_TYPE_AT] not in _COLOURED:
            continue
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        if (pixels != pixels[..., :1]).any():
            raise ValueError(f"source: expected grey images, {path} has colours; remove it with --missing leave")
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0]).save(buffer, "png")
        copies[name] = buffer.getvalue()
    return copies


def divide(config: PrepareConfig, lists: Mapping[str, Sequence[str]]) -> Split:
    """Return the split: the test list, and the training list without the patients drawn for validation.

    Raises
    ------
    ValueError
        If a list has no existing image.
    """
    patients = {part: {name.partition("_")[0] for name in names} for part, names in lists.items()}
    empty = [_LISTS[part] for part in _LISTS if not patients[part]]
    refuse_missing(empty, "an image of each list", "unpack more archives")
    train, val = draw_subjects(patients["train"], (1 - config.val, config.val), config.seed)
    return Split(train, val, frozenset(patients["test"]), SUBJECT)


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of images and patients of each part.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    tables = find_named(config.source, _TABLES)
    refuse_missing([_TABLES[0]] * (not tables), "the table of findings", "download it with the images")
    path = tables[max(tables)]  # the corrected table of 2020 if it exists
    findings = read_findings(path)
    lists = read_lists(config.source, findings, path)
    images = {name: place for name, place in find_named(config.source, ("*.png",)).items() if name in findings}
    missing = set(findings) - set(images)
    if config.missing == "refuse":
        refuse_missing(missing, "the images of the table", "unpack all archives, or give --missing leave")
    split = divide(config, {part: [name for name in names if name in images] for part, names in lists.items()})
    cases = {name: name.removesuffix(".png") for name in sorted(images)}
    with own_folder(config.out):
        copies = grey_copies(images)
        places = images | {name: (config.out / "grey" / name).absolute() for name in copies}
        flags = [[case, *(int(one in findings[name]) for one in FINDINGS)] for name, case in cases.items()]
        content = {
            "images.csv": images_csv([(case, "", places[name]) for name, case in cases.items()]),
            "classes.csv": table(["case", *FINDINGS], flags),
            "splits.json": split_json(split),
        }
        write_all(config.out, content | {f"grey/{name}": copy for name, copy in copies.items()})
    return {
        "out": str(config.out),
        "table": path.name,
        "images": dict(Counter(split.part_of(case) for case in cases.values())),
        "patients": {part: len(getattr(split, part)) for part in PARTS},
        "missing": len(missing),
        "grey_copies": len(copies),
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.chestxray14.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
