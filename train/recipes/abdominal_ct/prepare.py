"""Prepare the CT scans of AMOS 2022 for context restoration and the localisation of organs.

::

    python -m train.recipes.abdominal_ct.prepare data/amos22 runs/abdominal_ct/data

The output folder has ``images.csv`` (the files), ``boxes.csv`` (the box of each organ, from the label volumes),
``splits.json`` (the published validation part as test part; validation drawn from the training part), and ``view.txt``
(the options of a crop that holds every scan).
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from dali_cr.system.owner import own_folder

from ...data.split.parts import PARTS, Split
from ...start.command import asked, end, read_arguments
from ..folder import draw_subjects, images_csv, refuse_dangling, refuse_missing, split_json, write_all
from .boxes import ORGANS, Pairs, boxes_csv, measure, view_words

_NAME = re.compile(r"amos_(\d{4})\.nii\.gz")
_FIRST_MR = 500


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare the CT scans of AMOS 2022 for context restoration and the localisation of organs."""

    source: tyro.conf.Positional[Path]
    """Data: folder with imagesTr, labelsTr, imagesVa and labelsVa."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the tables and the split."""
    spacing: float = 4.0
    """Sampling: voxel size in mm that the scans are resampled to."""
    val: float = 0.1
    """Split: fraction of the scans of the training part that are for validation."""
    seed: int = 0
    """Split: seed of the choice of these scans."""
    missing: Literal["refuse", "leave"] = "refuse"
    """Data: whether a scan without labels, labels without a scan, and labels on another grid are an error (refuse) or
    excluded (leave)."""

    def __post_init__(self) -> None:
        """Check the settings, without the data."""
        if not (0 < self.val < 1 and 0 < self.spacing < float("inf")):
            raise ValueError(f"expected --val between 0 and 1 and --spacing above 0, got {self.val}, {self.spacing}")


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files of CT scans in a folder, by case.

    Raises
    ------
    ValueError
        If the folder is missing.
    """
    refuse_missing([folder.name] * (not folder.is_dir()), "the folders of AMOS", "unpack the published archive")
    found = {path: _NAME.fullmatch(path.name) for path in sorted(folder.absolute().iterdir())}
    files = {f"amos_{name[1]}": path for path, name in found.items() if name and int(name[1]) < _FIRST_MR}
    for path in files.values():
        refuse_dangling(path)
    return files


def find_pairs(source: Path, part: str, *, complete: bool) -> tuple[Pairs, set[str]]:
    """Return the scans of a part with their labels, and the cases that lack one of both.

    Raises
    ------
    ValueError
        If there are such cases, unless they are excluded, or no others.
    """
    images, labels = (find_files(source / f"{kind}{part}") for kind in ("images", "labels"))
    lacking = images.keys() ^ labels.keys()
    if complete or not images.keys() & labels.keys():
        advice = "unpack the archive again, or give --missing leave"
        refuse_missing(images.keys() - labels.keys(), f"a file in labels{part} for each scan", advice)
        refuse_missing(labels.keys() - images.keys(), f"a file in images{part} for each label volume", advice)
        refuse_missing([f"images{part}"] * (not images), "CT scans, amos_0001.nii.gz to amos_0499.nii.gz", advice)
    return {case: (images[case], labels[case]) for case in images if case in labels}, lacking


def check_names(source: Path) -> None:
    """Raise ValueError if the data set's own table of labels, if it is there, gives an organ another label."""
    path = source / "dataset.json"
    if not path.is_file():
        return
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["labels"]
        found = {organ: str(named.get(str(label))) for organ, label in ORGANS.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"source: expected the names of labels in {path}: {error!r}") from error
    for organ, name in found.items():
        if organ != name:
            raise ValueError(f"source: expected label {ORGANS[organ]} to be {organ}, {path} calls it {name!r}")


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of scans of each part.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    refuse_missing([str(config.source)] * (not config.source.is_dir()), "the folder of the data set", "unpack it")
    check_names(config.source)
    complete = config.missing == "refuse"
    (train, lacking), (test, others) = (find_pairs(config.source, part, complete=complete) for part in ("Tr", "Va"))
    if twice := train.keys() & test.keys():
        raise ValueError(f"source: expected each scan in one part, {min(twice)} is in imagesTr and in imagesVa")
    boxes, shapes, refused = measure(train | test, config.spacing)
    if refused and complete:
        case, why = next(iter(refused.items()))
        raise ValueError(
            f"source: expected labels on the grid of each scan, {len(refused)} are not so ({case}: {why}); --missing "
            "leave excludes them"
        )
    first, second = draw_subjects(train.keys() & boxes.keys(), (1 - config.val, config.val), config.seed)
    split = Split(first, second, frozenset(test.keys() & boxes.keys()))
    with own_folder(config.out):
        content = {
            "images.csv": images_csv([(case, "", (train | test)[case][0]) for case in boxes]),
            "boxes.csv": boxes_csv(boxes),
            "splits.json": split_json(split),
            "view.txt": view_words(shapes, config.spacing).encode(),
        }
        write_all(config.out, content)
    return {
        "out": str(config.out),
        "cases": {part: len(getattr(split, part)) for part in PARTS},
        "excluded": sorted({*lacking, *others, *refused}),
        "view": view_words(shapes, config.spacing).strip(),
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.abdominal_ct.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
