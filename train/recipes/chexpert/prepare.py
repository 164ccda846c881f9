"""Prepare CheXpert for pre-training and multi-label classification.

::

    python -m train.recipes.chexpert.prepare data/CheXpert-v1.0-small runs/chexpert/data

The output folder has ``images.csv`` (the files), ``classes.csv`` (a column of 0 and 1 for each observation) and
``splits.json`` (test: the official validation set; validation: drawn by patient from the training set).
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import tyro
from PIL import Image

from dali_cr.system.owner import own_folder

from ...data.split.parts import Split
from ...start.command import asked, end, read_arguments
from ..folder import draw_subjects, images_csv, read_rows, refuse_dangling, refuse_missing, split_json, table, write_all

SUBJECT = r"^(patient\d+)_"
"""Finds the patient in a case's name."""

Policy = Literal["zeros", "ones", "leave"]

_TABLES = {"train": "train.csv", "test": "valid.csv"}
_FLAGS = {"1": "1", "0": "0"}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare CheXpert for pre-training and multi-label classification."""

    source: tyro.conf.Positional[Path]
    """Data: folder with train.csv, valid.csv, and the images in train/ and valid/."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the tables and the split."""
    columns: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
    """Labels: observations to classify; by default the five of the competition."""
    blank: Policy = "zeros"
    """Labels: whether a blank, an observation that the report does not mention, is absent (zeros) or present (ones),
    or excludes the image from the labels (leave)."""
    uncertain: Policy = "zeros"
    """Labels: the same choice for -1, an uncertain observation."""
    views: Literal["all", "frontal"] = "all"
    """Data: use frontal and lateral images, or only frontal ones."""
    val: float = 0.1
    """Split: fraction of the patients of train.csv for validation."""
    seed: int = 0
    """Split: seed of the random choice of these patients."""


def case_of(path: str) -> str:
    """Return the name of a case from its path in the table.

    Raises
    ------
    ValueError
        If the path has another form.

    Examples
    --------
    >>> case_of("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg")
    'patient00001_study1_view1_frontal'
    """
    parts = PurePosixPath(path).with_suffix("").parts
    if len(parts) != 5 or not parts[2].startswith("patient"):
        raise ValueError(f"source: expected paths as CheXpert/train/patient00001/study1/view1_frontal.jpg, got {path}")
    return "_".join(parts[2:])


def flag_of(text: str, blank: Policy, uncertain: Policy) -> str | None:
    """Return "1" or "0" for a cell by the policies; None if its image is excluded.

    Raises
    ------
    ValueError
        If it is not 1, 0, -1 or blank.

    Examples
    --------
    >>> flag_of("1.0", "zeros", "ones"), flag_of("-1.0", "zeros", "ones"), flag_of("", "leave", "ones")
    ('1', '1', None)
    """
    text = text.removesuffix(".0")
    policies = {"": blank, "-1": uncertain}
    if text in policies:
        return {"zeros": "0", "ones": "1", "leave": None}[policies[text]]
    if text not in _FLAGS:
        raise ValueError(f"expected 1, 0, -1 or a blank, got {text!r}")
    return _FLAGS[text]


def flags_of(case: str, row: Mapping[str, str], config: PrepareConfig) -> list[str] | None:
    """Return the labels of a row; None if its image is excluded from the labels."""
    flags = []
    for name in config.columns:
        try:
            flags.append(flag_of(row[name], config.blank, config.uncertain))
        except ValueError as error:
            raise ValueError(f"source: {name} of {case}: {error}") from error
    return None if None in flags else [flag for flag in flags if flag is not None]


def read_part(config: PrepareConfig, part: str) -> dict[str, tuple[Path, list[str] | None]]:
    """Return the path and the labels of each case of an official part.

    Raises
    ------
    ValueError
        If the table is inconsistent, or an image is missing.
    """
    found: dict[str, tuple[Path, list[str] | None]] = {}
    rows = read_rows(config.source / _TABLES[part], ("Frontal/Lateral", *config.columns), "Path")
    for path, row in rows.items():
        if config.views == "frontal" and row["Frontal/Lateral"] != "Frontal":
            continue
        case = case_of(path)
        place = config.source.absolute().joinpath(*PurePosixPath(path).parts[1:])
        if case in found:
            raise ValueError(f"source: expected one row for each image, {case} has two in {_TABLES[part]}")
        found[case] = place, flags_of(case, row, config)
    for place, _ in found.values():
        refuse_dangling(place)
    missing = [str(place) for place, _ in found.values() if not place.is_file()]
    refuse_missing(missing, f"the images of {_TABLES[part]}", "unpack the whole archive")
    return found


def largest_edges(paths: Sequence[Path]) -> list[int]:
    """Return the largest height and the largest width of images, from their headers."""
    height = width = 0
    for path in paths:
        with Image.open(path) as image:
            width, height = max(width, image.width), max(height, image.height)
    return [height, width]


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of images and patients of each part.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    parts = {part: read_part(config, part) for part in _TABLES}
    patients = {part: {case.partition("_")[0] for case in cases} for part, cases in parts.items()}
    if shared := patients["train"] & patients["test"]:
        raise ValueError(f"source: expected each patient in one table, {min(shared)} is in train.csv and valid.csv")
    refuse_missing(["valid.csv"] * (not patients["test"]), "an image in each table", "give other --views")
    train, val = draw_subjects(patients["train"], (1 - config.val, config.val), config.seed)
    split = Split(train, val, frozenset(patients["test"]), SUBJECT)
    cases = dict(sorted({**parts["train"], **parts["test"]}.items()))
    labelled = {case: flags for case, (_, flags) in cases.items() if flags is not None}
    with own_folder(config.out):
        content = {
            "images.csv": images_csv([(case, "", place) for case, (place, _) in cases.items()]),
            "classes.csv": table(["case", *config.columns], [[case, *flags] for case, flags in labelled.items()]),
            "splits.json": split_json(split),
        }
        write_all(config.out, content)
    return {
        "out": str(config.out),
        "images": len(cases),
        "labelled": len(labelled),
        "patients": {"train": len(train), "val": len(val), "test": len(split.test)},
        "largest": largest_edges([place for place, _ in cases.values()]),
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.chexpert.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
