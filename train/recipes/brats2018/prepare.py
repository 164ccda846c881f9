"""Prepare the training cases of BraTS 2018 for pre-training and segmentation.

::

    python -m train.recipes.brats2018.prepare data/MICCAI_BraTS_2018_Data_Training runs/brats2018/data

The output folder has ``images.csv`` (four channels a case), ``labels/`` (links to the segmentations, named as their
cases) and ``splits.json``, stratified by HGG and LGG.
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
from pathlib import Path
from typing import Any

import tyro

from dali_cr.system.owner import own_folder
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.reader import read_header

from ...data.label_values import read_values
from ...data.split.make import make_split
from ...data.split.parts import PARTS, Split
from ...start.command import asked, end, read_arguments
from ..folder import find_named, images_csv, refuse_missing, split_json, write_all

SUBJECT = r"^(Brats18_.+)_\d+$"
"""Finds the patient in a case's name, which ends in the number of the scan."""

CHANNELS = ("t1", "t1ce", "t2", "flair")
GRADES = ("HGG", "LGG")
LABELS = frozenset({0, 1, 2, 4})
"""Background, necrotic and non-enhancing core, oedema, enhancing tumour."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare the training cases of BraTS 2018 for pre-training and segmentation."""

    source: tyro.conf.Positional[Path]
    """Data: folder with HGG/CASE/CASE_flair.nii.gz, and so on for t1, t1ce, t2 and seg, and the same under LGG."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the table, links and the split."""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Split: fractions of the patients of each grade for train, val and test."""
    seed: int = 0
    """Split: seed of the random assignment."""


def find_cases(source: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Return the files of each case of each grade, by channel or "seg".

    Raises
    ------
    ValueError
        If a file is missing, or a case is in both grades.
    """
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for grade in GRADES:
        folder = source / grade
        refuse_missing([str(folder)] * (not folder.is_dir()), "a folder for each grade", "unpack the training archive")
        cases: dict[str, dict[str, Path]] = {}
        for name, path in find_named(folder, ("Brats18_*.nii.gz", "Brats18_*.nii")).items():
            case, _, kind = name.removesuffix(".gz").removesuffix(".nii").rpartition("_")
            if kind not in (*CHANNELS, "seg"):
                raise ValueError(f"source: expected {', '.join(CHANNELS)} or seg at the end of a name, got {path}")
            if kind in cases.setdefault(case, {}):
                raise ValueError(f"source: expected one {kind} of {case}, got {cases[case][kind]} and {path}")
            cases[case][kind] = path
        missing = [f"{case}_{kind}" for case, files in cases.items() for kind in {*CHANNELS, "seg"} - set(files)]
        refuse_missing(missing, "five files for each case", "unpack the training archive again")
        found[grade] = dict(sorted(cases.items()))
    if shared := found["HGG"].keys() & found["LGG"]:
        raise ValueError(f"source: expected each case in one grade, {min(shared)} is in HGG and LGG")
    return found


def check_case(case: str, files: Mapping[str, Path]) -> None:
    """Check that the files of a case are on one grid, and that its labels are those of BraTS 2018.

    Raises
    ------
    ValueError
        Naming the first invalid file.
    """
    try:
        grids = {kind: read_header(path)[0] for kind, path in files.items()}
        for kind, grid in grids.items():
            if grid.shape != grids["t1"].shape or grid.aligned(grids["t1"]) is None:
                raise ValueError(
                    f"source: expected one grid for the files of {case}, {files[kind]} has another than t1"
                )
        values = {int(value) for value in set(read_values(files["seg"]).ravel().tolist())}
    except VolumeError as error:
        raise ValueError(f"source: {error}") from error
    if strange := values - LABELS:
        raise ValueError(
            f"source: expected the labels 1, 2 and 4 of BraTS 2018, {files['seg']} has {min(strange)}; later editions "
            "have other labels"
        )


def split_by_grade(cases: Mapping[str, Sequence[str]], fractions: tuple[float, float, float], seed: int) -> Split:
    """Return a split of the patients that is stratified by grade."""
    splits = [make_split(names, fractions, seed, SUBJECT) for names in cases.values()]
    train, val, test = (frozenset().union(*(getattr(split, part) for split in splits)) for part in PARTS)
    return Split(train, val, test, SUBJECT)


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of cases of each part and grade.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    found = find_cases(config.source)
    cases = {case: files for grade in GRADES for case, files in found[grade].items()}
    for case, files in cases.items():
        check_case(case, files)
    split = split_by_grade({grade: list(found[grade]) for grade in GRADES}, config.fractions, config.seed)
    with own_folder(config.out):
        images = [(case, channel, files[channel]) for case, files in cases.items() for channel in CHANNELS]
        links = {
            f"labels/{case}{'.nii.gz' if files['seg'].name.endswith('.gz') else '.nii'}": files["seg"]
            for case, files in cases.items()
        }
        write_all(config.out, {"images.csv": images_csv(images), "splits.json": split_json(split)}, links)
    counts = {
        part: {grade: sum(split.part_of(case) == part for case in found[grade]) for grade in GRADES} for part in PARTS
    }
    return {"out": str(config.out), "cases": counts}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.brats2018.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
