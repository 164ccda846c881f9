"""What of a folder is imported, by which format: by the files' suffixes, and DICOM by what the files begin with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath

from dali_cr.extras import load_format
from dali_cr.index.layout.leftover import kind_of
from dali_cr.index.layout.walk import walk_trees
from dali_cr.index.volumes import Problem
from dali_cr.tools.importers.dicom.headers import is_dicom
from dali_cr.tools.importers.dicom.series import Reader, find_series
from dali_cr.tools.importers.item import Findings, Format, Item
from dali_cr.tools.importers.itk import META, NRRD, find_itk
from dali_cr.tools.importers.nifti import find_nifti
from dali_cr.tools.importers.nnunet import SUFFIX as B2ND
from dali_cr.tools.importers.nnunet import Planned, find_b2nd, find_plans
from dali_cr.tools.importers.npy import SUFFIX as NPY
from dali_cr.tools.importers.npy import find_npy
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.grid import Spacing
from dali_cr.volume.nifti import is_volume

_SUFFIXES: dict[Format, tuple[str, ...]] = {"mha": META, "nrrd": NRRD, "npy": (NPY,), "b2nd": (B2ND,)}
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
"""DICOM files may be called anything; what is called so and is none is a problem."""

_DIRECTORY = "DICOMDIR"
_LIBRARIES: dict[Format, tuple[str, ...]] = {
    "dicom": ("pydicom",), "mha": ("SimpleITK",), "nrrd": ("SimpleITK",), "b2nd": ("blosc2",)
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes
    ----------
    top : Path
        Absolute; paths are relative to it.
    findings : Findings
        Stores that would have one name are problems.
    ignored : dict of str to int
        How many other files there are of each kind, the most frequent first.
    """

    top: Path
    findings: Findings
    ignored: dict[str, int]


def discover(
    source: Path,
    out: Path,
    formats: Sequence[Format],
    spacing: Spacing | None,
    plans: Path | None,
    read_headers: Callable[[Path], Reader],
) -> Found:
    """Find the volumes to import.

    Parameters
    ----------
    source, out : Path
    formats : sequence of str
        Files of others are ignored.
    spacing : (3,) float, optional
        In mm along (D, H, W), for files that have none.
    plans : Path, optional
        nnU-Net's plans.
    read_headers : callable
        From the folder to what reads the headers of DICOM files.

    Raises
    ------
    FileNotFoundError
        If the source is no folder, or has nothing to import.
    ImportError
        If a library is missing for files that are there; it says what to install.
    """
    top, (tree,), problems = walk_trees(source)
    found = Findings(problems=list(problems))
    by_format: dict[Format, list[str]] = defaultdict(list)
    passed: dict[str, str] = dict.fromkeys(tree.hidden, "hidden")
    for path in tree.paths:
        try:
            kind = _format_of(top, path)
        except VolumeError as error:
            found.problems.append(Problem(path, error.reason))
            continue
        if kind and kind in formats:
            by_format[kind].append(path)
        elif kind is None and "dicom" in formats and path.lower().endswith(_DICOM_SUFFIXES):
            found.problems.append(Problem(path, "no DICOM file: DICM is missing at byte 128"))
        else:
            passed[path] = _DIRECTORY if _is_directory(path) else kind_of(path, "")
    for library in [library for kind in by_format for library in _LIBRARIES.get(kind, ())]:
        load_format(library)
    plans_of = cache(partial(find_plans, plans=plans))
    for library in [library for kind in by_format for library in _LIBRARIES.get(kind, ())]:
        load_format(library)
    for kind, paths in by_format.items():
        if kind == "dicom":
            found.add(find_series(paths, read_headers(top), out))
            continue
        for path in paths:
            try:
                item, used = _find(kind, top, path, spacing, plans_of)
            except VolumeError as error:
                found.problems.append(Problem(path, error.reason))
                continue
            found.items.append(item)
            for file in used:
                passed.pop(file, None)
    if not found.items and not found.problems:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(passed.values()).most_common(8)) or "no file"
        raise FileNotFoundError(f"{source}: expected files of {', '.join(formats)}, got {kinds}")
    _refuse_doubles(found)
    return Found(top, found, dict(Counter(passed.values()).most_common()))


def _format_of(top: Path, path: str) -> Format | None:
    """Return the format of a file; None if it is of none."""
    if is_volume(path):
        return "nifti"
    if _is_directory(path):
        return None
    for kind, suffixes in _SUFFIXES.items():
        if path.lower().endswith(suffixes):
            return kind
    return "dicom" if is_dicom(top / path) else None


def _is_directory(path: str) -> bool:
    """Whether a file is a table of contents of DICOM files; it holds no image."""
    return PurePosixPath(path).name.upper().startswith(_DIRECTORY)


def _find(
    kind: Format, top: Path, path: str, spacing: Spacing | None, plans_of: Callable[[Path], Planned | None]
) -> tuple[Item, Sequence[str]]:
    """Return the item of a file, and the files that are read for it."""
    if kind == "npy":
        return find_npy(top, path, spacing), ()
    if kind == "b2nd":
        return find_b2nd(top, path, spacing, plans_of), ()
    return find_nifti(top, path) if kind == "nifti" else find_itk(top, path)


def _refuse_doubles(found: Findings) -> None:
    """Move items that would be one store to the problems."""
    stores: dict[str, list[Item]] = defaultdict(list)
    for item in found.items:
        stores[item.store].append(item)
    for store, items in stores.items():
        for item, other in zip(items, items[1:] + items[:1], strict=True):
            if item is not other:
                reason = f"{store} would be the store of {other.source} too; rename one, or import them apart"
                found.problems.append(Problem(item.source, reason))
    found.items = [items[0] for items in stores.values() if len(items) == 1]
