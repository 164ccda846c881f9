"""Prepare the training volumes of LiTS for pre-training and segmentation.

::

    python -m train.recipes.lits.prepare data/LiTS runs/lits/data --headers leave

The output folder has ``images.csv`` (the files), ``labels/`` (links to the segmentations, named as their volumes),
``names.json`` and ``splits.json``.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ...start.interrupt import quit_on_interrupt

    quit_on_interrupt("prepare")

from ...start import needs  # noqa: F401 - before all that may be missing

# isort: split

import gzip
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import tyro

from dali_cr.system.owner import own_folder
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.reader import read_header

from ...data.split.make import make_split
from ...start.command import asked, end, read_arguments
from ..folder import find_named, images_csv, refuse_missing, split_json, write_all

SUBJECT = r"^volume-(\d+)$"
"""Finds the patient in a case's name."""

_SUFFIXES = (".nii.gz", ".nii")
_NAMES = b'{\n  "1": "liver",\n  "2": "tumour"\n}\n'


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Prepare the training volumes of LiTS for pre-training and segmentation."""

    source: tyro.conf.Positional[Path]
    """Data: folder with volume-N.nii and segmentation-N.nii in any subfolders, also as .nii.gz."""
    out: tyro.conf.Positional[Path]
    """Output: folder for the tables, links and the split."""
    headers: Literal["refuse", "leave", "image"] = "refuse"
    """Data: whether cases with an identity affine (voxel size unknown) or with a segmentation on another grid are an
    error (refuse), excluded (leave), or kept with the header of the volume (image)."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Split: fractions of the cases for train, val and test."""
    seed: int = 0
    """Split: seed of the random assignment."""


def find_pairs(source: Path) -> dict[str, tuple[Path, Path]]:
    """Return the volume and the segmentation of each case, in the order of their numbers.

    Raises
    ------
    ValueError
        If there are none, or one of the two is missing.
    """
    found: dict[str, dict[int, Path]] = {}
    for kind in ("volume", "segmentation"):
        files = find_named(source, tuple(f"{kind}-*{suffix}" for suffix in _SUFFIXES))
        found[kind] = {}
        for name, path in files.items():
            stem = name.removesuffix(".gz").removesuffix(".nii").removeprefix(f"{kind}-")
            if not stem.isdecimal():
                raise ValueError(f"source: expected {kind}-NUMBER.nii, got {path}; remove it")
            if int(stem) in found[kind]:
                raise ValueError(f"source: expected one {kind} {stem}, got {found[kind][int(stem)]} and {path}")
            found[kind][int(stem)] = path
    volumes, labels = found["volume"], found["segmentation"]
    advice = "unpack both training batches; move the test volumes, which have no segmentation, to another folder"
    refuse_missing(["volume-*.nii"] * (not volumes), "the volumes", advice)
    refuse_missing([f"volume-{n}.nii" for n in labels.keys() - volumes], "a volume for each segmentation", advice)
    refuse_missing([f"segmentation-{n}.nii" for n in volumes.keys() - labels], "a segmentation for each volume", advice)
    return {f"volume-{number}": (volumes[number], labels[number]) for number in sorted(volumes)}


def describe_headers(volume: Path, label: Path) -> str:
    """Return the problem of a case's headers, "" if there is none.

    Raises
    ------
    ValueError
        If a header cannot be read, or the two have different shapes.
    """
    try:
        image, mask = read_header(volume)[0], read_header(label)[0]
    except VolumeError as error:
        raise ValueError(f"source: {error}") from error
    first, second = (nib.Nifti1Image.from_filename(path) for path in (volume, label))
    if first.shape != second.shape:
        raise ValueError(f"source: expected {label} in the shape of its volume, {first.shape}; got {second.shape}")
    if np.array_equal(np.abs(first.affine[:3, :3]), np.eye(3)):
        return "has an identity affine"
    return "" if mask.aligned(image) else "has a segmentation on another grid"


def with_header_of(volume: Path, label: Path) -> bytes:
    """Return a segmentation with the grid of its volume, as a compressed NIfTI file."""
    image, mask = (nib.Nifti1Image.from_filename(path) for path in (volume, label))
    copy = nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.uint8), image.affine)
    copy.header.set_xyzt_units("mm")
    return gzip.compress(copy.to_bytes(), 1, mtime=0)


def choose(config: PrepareConfig, pairs: dict[str, tuple[Path, Path]]) -> tuple[dict[str, tuple[Path, Path]], set[str]]:
    """Return the cases to use, and those whose segmentation gets the header of its volume.

    Raises
    ------
    ValueError
        If a header is wrong, with ``--headers refuse``.
    """
    wrong = {case: why for case, pair in pairs.items() if (why := describe_headers(*pair))}
    if wrong and config.headers == "refuse":
        named = "; ".join(f"{case} {why}" for case, why in list(wrong.items())[:5])
        raise ValueError(
            f"source: expected voxel sizes in mm and one grid per case, got {len(wrong)} other cases ({named}); "
            "--headers leave excludes them, --headers image uses the header of the volume"
        )
    if config.headers == "image":
        return pairs, set(wrong)
    return {case: pair for case, pair in pairs.items() if case not in wrong}, set()


def main(config: PrepareConfig) -> dict[str, Any]:
    """Write the folder and return the number of cases of each part.

    Raises
    ------
    ValueError, OSError
        If the source is incomplete or inconsistent, or the folder cannot be written.
    """
    found = find_pairs(config.source)
    pairs, rewritten = choose(config, found)
    split = make_split(list(pairs), config.fractions, config.seed, SUBJECT)
    with own_folder(config.out):
        content = {
            "images.csv": images_csv([(case, "", volume) for case, (volume, _) in pairs.items()]),
            "names.json": _NAMES,
            "splits.json": split_json(split),
            **{f"labels/{case}.nii.gz": with_header_of(*pairs[case]) for case in sorted(rewritten)},
        }
        links = {
            f"labels/{case}{'.nii.gz' if label.name.endswith('.gz') else '.nii'}": label
            for case, (_, label) in pairs.items()
            if case not in rewritten
        }
        write_all(config.out, content, links)
    return {
        "out": str(config.out),
        "cases": {part: len(getattr(split, part)) for part in ("train", "val", "test")},
        "excluded": sorted(set(found) - set(pairs)),
        "header_of_volume": sorted(rewritten),
    }


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    name = "recipes.lits.prepare"
    return end("prepare", lambda: asked(lambda: main(read_arguments(PrepareConfig, name, arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
