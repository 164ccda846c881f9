"""Prepare FETAL_PLANES_DB for context restoration and the classification of planes.

::

    python -m train.recipes.fetal_planes.prepare data/FETAL_PLANES_ZENODO runs/fetal_planes/data

The output folder has ``images.csv`` (the files), ``classes.csv`` (the plane of each image), ``splits.json`` (the
official test part; validation drawn by patient from the official training part), and ``grey/`` with grey copies of
images that were published in another form.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import io
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from PIL import Image, UnidentifiedImageError

from dali_cr.system.owner import own_folder

from ...data.split.parts import PARTS, Split
from ...data.tables import read_table
from ...start.command import asked, end, read_arguments
from ..folder import draw_subjects, find_named, images_csv, refuse_missing, split_json, table, write_all

TABLE = "FETAL_PLANES_DB_data.csv"
PLANES = ("Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
SUBJECT = r"^Patient(\d+)"
"""Finds the patient in a case's name."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare FETAL_PLANES_DB for context restoration and the classification of planes."""

    source: tyro.conf.Positional[Path]
    """Data: folder with FETAL_PLANES_DB_data.csv and Images/."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the tables and the split."""
    val: float = 0.1
    """Split: fraction of the patients of the official training part that are for validation."""
    seed: int = 0
    """Split: seed of the choice of these patients."""
    missing: Literal["refuse", "leave"] = "refuse"
    """Data: whether images that are listed and not there are an error (refuse) or excluded (leave)."""

    def __post_init__(self) -> None:
        """Check the settings, without the data."""
        if not 0 < self.val < 1:
            raise ValueError(f"--val: expected a fraction between 0 and 1, got {self.val}")


@dataclass(frozen=True)
class Row:
    """What the published table says of an image."""

    patient: str
    plane: str
    train: bool


def read_rows(path: Path) -> dict[str, Row]:
    """Return the rows of the published table by the name of the image, without suffix.

    Raises
    ------
    ValueError
        If a row is inconsistent, or a patient is in both official parts.
    """
    columns, lines = read_table(path)
    refuse_missing(
        {"Patient_num", "Plane", "Train"} - set(columns), f"the columns of {path}", "is it the published file?"
    )
    rows = {}
    for name, line in lines.items():
        found = re.match(SUBJECT, name)
        if not found or not line["Patient_num"].isdecimal() or int(found[1]) != int(line["Patient_num"]):
            raise ValueError(
                f"source: expected names as Patient00001_… for patient 1, got {name} for {line['Patient_num']!r} in "
                f"{path}"
            )
        if line["Plane"] not in PLANES:
            raise ValueError(f"source: expected one of {', '.join(PLANES)}, {name} of {path} has {line['Plane']!r}")
        if line["Train"] not in ("0", "1"):
            raise ValueError(f"source: expected 1 (training) or 0 (test), {name} of {path} has {line['Train']!r}")
        rows[name] = Row(found[1], line["Plane"], line["Train"] == "1")
    train, test = ({row.patient for row in rows.values() if row.train == part} for part in (True, False))
    if shared := train & test:
        raise ValueError(f"source: expected each patient in one official part, {min(shared)} is in both in {path}")
    return rows


def divide(config: PrepareConfig, rows: Collection[Row]) -> Split:
    """Return the split: the official test part, and the training part without the patients drawn for validation.

    Raises
    ------
    ValueError
        If a part has no image that is there.
    """
    train, test = ({row.patient for row in rows if row.train == part} for part in (True, False))
    refuse_missing(["training"] * (not train) + ["test"] * (not test), "an image of each official part", "unpack all")
    first, second = draw_subjects(train, (1 - config.val, config.val), config.seed)
    return Split(first, second, frozenset(test), SUBJECT)


def grey_copies(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Return grey copies, as PNG by case, of images that are not grey with 8 bits: their luminance.

    Raises
    ------
    ValueError
        If an image cannot be read.
    """
    copies = {}
    for case, path in paths.items():
        try:
            with Image.open(path) as image:
                if image.mode == "L" and "transparency" not in image.info:
                    continue
                grey = image.convert("RGB").convert("L")
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"source: expected PNG images, {path} cannot be read: {error}") from error
        buffer = io.BytesIO()
        grey.save(buffer, "png")
        copies[case] = buffer.getvalue()
    return copies


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of images and patients of each part.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    tables = find_named(config.source, (TABLE,))
    refuse_missing([TABLE] * (not tables), "the table of the data set", "it is in the published archive")
    rows = read_rows(tables[TABLE])
    files = {name.removesuffix(".png"): path for name, path in find_named(config.source, ("*.png",)).items()}
    missing = {f"{case}.png" for case in rows.keys() - files.keys()}
    if config.missing == "refuse":
        refuse_missing(missing, "the images of the table", "unpack the archive again, or give --missing leave")
    images = {case: files[case] for case in sorted(rows.keys() & files.keys())}
    split = divide(config, [rows[case] for case in images])
    with own_folder(config.out):
        copies = grey_copies(images)
        places = images | {case: (config.out / "grey" / f"{case}.png").absolute() for case in copies}
        content = {
            "images.csv": images_csv([(case, "", place) for case, place in places.items()]),
            "classes.csv": table(["case", "plane"], [[case, rows[case].plane] for case in images]),
            "splits.json": split_json(split),
        }
        write_all(config.out, content | {f"grey/{case}.png": copy for case, copy in copies.items()})
    return {
        "out": str(config.out),
        "images": dict(Counter(split.part_of(case) for case in images)),
        "patients": {part: len(getattr(split, part)) for part in PARTS},
        "missing": len(missing),
        "grey_copies": len(copies),
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.fetal_planes.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
