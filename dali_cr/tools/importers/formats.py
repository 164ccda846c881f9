"""Detect the format of files: by suffix, and DICOM by content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from dali_cr.index.layout.leftover import kind_of
from dali_cr.index.layout.walk import walk_trees
from dali_cr.index.volumes import Problem
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.nifti import is_volume

Format = Literal["dicom", "mha", "nrrd", "npy", "b2nd", "nifti"]

SUFFIXES: dict[Format, tuple[str, ...]] = {
    "mha": (".mha", ".mhd"),
    "nrrd": (".nrrd", ".nhdr"),
    "npy": (".npy",),
    "b2nd": (".b2nd",),
}

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
"""Suffixes of DICOM; other suffixes are allowed, but a file with these suffixes must be DICOM."""

_DIRECTORY = "DICOMDIR"
"""Prefix of the names of DICOM directories, which contain no image."""


@dataclass
class Files:
    """The files of a folder by format.

    Attributes
    ----------
    top : Path
        Absolute path of the folder; other paths are relative to it.
    by_format : dict of str to list of str
    skipped : dict of str to str
        Kind of each other file, such as ".txt", by path.
    problems : list of Problem
        Folders and files that cannot be read.
    """

    top: Path
    by_format: dict[Format, list[str]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def list_formats(source: Path, formats: Sequence[Format]) -> Files:
    """List the files of a folder by their format.

    Parameters
    ----------
    source : Path
    formats : sequence of str
        Formats to list; other files are skipped.

    Raises
    ------
    FileNotFoundError
        If the source is not a folder.
    """
    top, (tree,), problems = walk_trees(source)
    files = Files(top, skipped=dict.fromkeys(tree.hidden, "hidden"), problems=list(problems))
    for path in tree.paths:
        try:
            kind = _format_of(top, path)
        except VolumeError as error:
            files.problems.append(Problem(path, error.reason))
            continue
        if kind and kind in formats:
            files.by_format[kind].append(path)
        elif kind is None and "dicom" in formats and path.lower().endswith(_DICOM_SUFFIXES):
            files.problems.append(Problem(path, "not a DICOM file: DICM is missing at byte 128"))
        else:
            files.skipped[path] = _DIRECTORY if _is_directory(path) else kind_of(path, "")
    return files


def _format_of(top: Path, path: str) -> Format | None:
    """Return the format of a file, or None."""
    if is_volume(path):
        return "nifti"
    for kind, suffixes in SUFFIXES.items():
        if path.lower().endswith(suffixes):
            return kind
    return "dicom" if not _is_directory(path) and _is_dicom(top / path) else None


def _is_directory(path: str) -> bool:
    return PurePosixPath(path).name.upper().startswith(_DIRECTORY)


def _is_dicom(path: Path) -> bool:
    """Whether the content of a file starts like DICOM."""
    read_status(path)
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise VolumeError(path, f"cannot be read: {error.strerror or error}") from error
