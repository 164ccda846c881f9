"""Find the volumes of a folder in all formats, and the reasons why other files are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from dali_cr.extras import load_format
from dali_cr.index.volumes import Problem
from dali_cr.tools.importers.dicom.series import Reader, find_series
from dali_cr.tools.importers.formats import Format, list_formats
from dali_cr.tools.importers.item import Findings, Item, long_name
from dali_cr.tools.importers.itk import find_itk
from dali_cr.tools.importers.nifti import find_nifti
from dali_cr.tools.importers.nnunet import find_b2nd, find_plans
from dali_cr.tools.importers.npy import find_npy
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.grid import Spacing

_LIBRARIES: dict[Format, str] = {"dicom": "pydicom", "mha": "SimpleITK", "nrrd": "SimpleITK", "b2nd": "blosc2"}

Finder = Callable[[Path, str], tuple[Item, Sequence[str]]]
"""Functions from a folder and a file in it to an item and the files that it reads."""


@dataclass(frozen=True)
class Request:
    """Settings of an import.

    Attributes
    ----------
    formats : tuple of str
        Formats to import; other files are ignored.
    spacing : (3,) float, optional
        Spacing in mm along (D, H, W), for files without spacing.
    plans : Path, optional
        nnU-Net's plans.
    """

    formats: tuple[Format, ...]
    spacing: Spacing | None = None
    plans: Path | None = None


@dataclass(frozen=True)
class Found:
    """The volumes and other files of a folder.

    Attributes
    ----------
    top : Path
        Absolute path of the folder; other paths are relative to it.
    findings : Findings
    ignored : dict of str to int
        Number of other files by kind, the most frequent first.
    """

    top: Path
    findings: Findings
    ignored: dict[str, int]


def discover(source: Path, out: Path, request: Request, read_headers: Callable[[Path], Reader]) -> Found:
    """Find the volumes to import.

    Parameters
    ----------
    source, out : Path
    request : Request
    read_headers : callable
        Returns a reader of DICOM headers for a folder.

    Raises
    ------
    FileNotFoundError
        If the source is not a folder, or has nothing to import.
    ImportError
        If a library for existing files is missing; the message says what to install.
    """
    files = list_formats(source, request.formats)
    for library in {_LIBRARIES[kind] for kind in files.by_format if kind in _LIBRARIES}:
        load_format(library)
    found = Findings(problems=files.problems)
    finders = _finders(request)
    for kind, paths in files.by_format.items():
        if kind == "dicom":
            found.add(find_series(paths, read_headers(files.top), out))
        else:
            for file in _find_each(found, finders[kind], files.top, paths):
                files.skipped.pop(file, None)
    ignored = dict(Counter(files.skipped.values()).most_common())
    if not found.items and not found.problems:
        kinds = ", ".join(f"{count} {kind}" for kind, count in ignored.items()) or "no file"
        raise FileNotFoundError(f"{source}: expected files of {', '.join(request.formats)}, got {kinds}")
    found.items = _with_unique_stores(found.items)
    return Found(files.top, found, ignored)


def _finders(request: Request) -> dict[Format, Finder]:
    """Return the finder for each format except DICOM."""
    plans_of = cache(partial(find_plans, plans=request.plans))

    def find_array(top: Path, path: str) -> tuple[Item, Sequence[str]]:
        return find_npy(top, path, request.spacing), ()

    def find_preprocessed(top: Path, path: str) -> tuple[Item, Sequence[str]]:
        return find_b2nd(top, path, request.spacing, plans_of), ()

    return {"npy": find_array, "b2nd": find_preprocessed, "mha": find_itk, "nrrd": find_itk, "nifti": find_nifti}


def _find_each(found: Findings, find: Finder, top: Path, paths: Sequence[str]) -> list[str]:
    """Add the item of each file, or the reason why it has none; return the files that the items read."""
    used: list[str] = []
    for path in paths:
        try:
            item, files = find(top, path)
        except VolumeError as error:
            found.problems.append(Problem(path, error.reason))
            continue
        found.items.append(item)
        used += files
    return used


def _with_unique_stores(items: Sequence[Item]) -> list[Item]:
    """Return items with longer names of stores for files that differ only by their suffix."""
    times = Counter(item.store.casefold() for item in items)
    return [replace(item, store=long_name(item)) if times[item.store.casefold()] > 1 else item for item in items]
