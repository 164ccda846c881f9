"""Label volumes: matching with cases, reading on the image's grid, and sampling maps."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.index.files import as_patterns, find_files
from dali_cr.index.layout.dataset_json import Pair, read_dataset_json
from dali_cr.index.values.cells import cell_edge
from dali_cr.index.volumes import Case
from dali_cr.volume import reader
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.packed.store import original_path

from .label_values import check_lossless, read_values
from .subjects.names import short_name

Labels = npt.NDArray[np.uint8]
Unmatched = Literal["refuse", "leave"]

_SCALE = 2**24
"""Sum of the weights of a class in a sampling map."""

_ANOTHER_GRID = "resample it to the image's grid by nearest neighbour"


def match(
    cases: Sequence[str],
    names: Mapping[str, Any],
    what: str,
    unmatched: Unmatched,
    optional: Container[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Match cases with entries (files or rows), by the whole or the short name.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    names : mapping
        Mapping with the names of the entries as keys.
    what : str
        Noun for an entry in messages.
    unmatched : "refuse" or "leave"
        Whether unmatched cases and entries raise an error or are excluded.
    optional : container of str
        Entries that may be unmatched.

    Returns
    -------
    found : dict of str to str
        Names of entries by case.
    unmatched : list of str
        Lines about unmatched cases and entries.

    Raises
    ------
    ValueError
        Naming the first unmatched case or entry, or two entries with the same short name.
    """
    short: dict[str, str] = {}
    for name in names:
        if (other := short.setdefault(short_name(name), name)) != name and name not in cases:
            raise ValueError(f"labels: expected one {what} per case, {other} and {name} both match {short_name(name)}")
    found = {case: case if case in names else short.get(short_name(case)) or _of_channel(case, short) for case in cases}
    lonely = sorted(case for case, name in found.items() if not name)
    strangers = sorted(name for name in set(names) - set(found.values()) if name not in optional)
    lines = [f"{name}: image without a {what}" for name in lonely]
    lines += [f"{name}: {what} without an image" for name in strangers]
    if lines and unmatched == "refuse":
        raise ValueError(
            f"labels: expected a {what} for each image and an image for each {what}; {lines[0]}"
            f"{f', and {len(lines) - 1} more' if len(lines) > 1 else ''}. --unmatched leave excludes them"
        )
    if len(lonely) == len(cases):
        raise ValueError(f"labels: expected a {what} for each image, none matches; the first image is {lonely[0]}")
    return {case: name for case, name in found.items() if name}, lines


def share_labels(found: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of cases that share an entry, from the result of `match`."""
    sharing: dict[str, list[str]] = {}
    for case, name in found.items():
        sharing.setdefault(name, []).append(case)
    return [cases for cases in sharing.values() if len(cases) > 1]


def _of_channel(case: str, short: Mapping[str, str]) -> str:
    """Return the entry of an image whose name ends in a channel number, as in nnU-Net; "" for none."""
    return short.get(re.sub(r"_\d{4}$", "", short_name(case)), "")


def find_label_files(folder: Path, pattern: Sequence[str]) -> dict[str, Path]:
    """Return the label files of a folder by name: the pattern's {case} if it has one, else the path.

    Raises
    ------
    ValueError
        If there are none, or two files belong to one case.
    """
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"labels: expected a folder of label volumes, {folder} {there}")
    top, files, _ = find_files(folder, as_patterns(list(pattern)), [], [])
    found: dict[str, Path] = {}
    for path, about in files.items():
        place = top / (about.store or path)
        check_lossless(place)
        name = about.case or path
        if name in found:
            raise ValueError(
                f"labels: expected one label per case, {found[name].name} and {path} both belong to {name}"
            )
        found[name] = place
    if not found:
        raise ValueError(f"labels: expected label volumes, no file in {folder} matches {', '.join(pattern)}")
    return found


def by_listed_pairs(files: Mapping[str, Path], index: Index, pairs: Sequence[Pair]) -> dict[str, Path]:
    """Rename label files to the cases that a `dataset.json` pairs them with; others keep their names.

    Raises
    ------
    ValueError
        If two labels are paired with one case, or two cases with one label.
    """
    cases: dict[str, set[str]] = defaultdict(set)
    for one in index.cases:
        for volume in one.volumes:
            cases[os.path.realpath(index.root / volume.path)].add(one.name)
    listed: dict[str, str] = {}
    for pair in pairs:
        of = set[str]().union(*(cases.get(os.path.realpath(image), ()) for image in pair.images))
        if len(of) != 1:  # no case, or several cases that are frames of one file
            continue
        case = listed.setdefault(os.path.realpath(pair.label), min(of))
        if {case} != of:
            raise ValueError(f"labels: expected one case per label, {pair.label} is paired with {case} and {min(of)}")
    named: dict[str, Path] = {}
    for name, path in files.items():
        key = listed.get(os.path.realpath(original_path(path)), name)
        if key in named:
            raise ValueError(f"labels: expected one label per case, {named[key]} and {path} both belong to {key}")
        named[key] = path
    return named


def read_labels(path: Path, case: Case) -> Labels:
    """Read the label volume of a case, canonical (D, H, W).

    Raises
    ------
    VolumeError
        If the file cannot be read, has another grid than the image, or has invalid label values.
    """
    check_lossless(path)
    return read_values(path, _on_grid(path, reader.read_header(path)[0], case))


def _on_grid(path: Path, geometry: Geometry, case: Case) -> Geometry:
    """Return the geometry of a label file along the axes of the case's image, after checking that the grids match."""
    image = case.volumes[0].geometry
    if (aligned := geometry.aligned(image)) is not None:
        return aligned
    if geometry.shape != image.shape:
        raise VolumeError(
            path, f"on another grid: expected {image.shape} as in {case.name}, got {geometry.shape}; {_ANOTHER_GRID}"
        )
    same = geometry.unit == image.unit or {geometry.unit, image.unit} == {"mm", "unknown"}
    units = "" if same else f" (its header has the unit {geometry.unit}, the image's has {image.unit})"
    raise VolumeError(
        path,
        f"on another grid: expected its voxels at the positions of those of {case.name}, got them up to "
        f"{geometry.distance(image):.3g} mm away{units}; {_ANOTHER_GRID}",
    )


def read_names(path: Path | None) -> dict[int, str]:
    """Read the names of labels from JSON: {"1": "liver"} or {"liver": 1}, also under the key "labels".

    Raises
    ------
    ValueError
        If the file has another form, or names regions.
    """
    try:
        named = read_dataset_json(path).labels if path else {}
    except ValueError as error:
        raise ValueError(f"names: {error}") from error
    return {value: name for name, values in named.items() for value in values}


def class_map(labels: Labels, pick: Callable[[Labels], npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint32]:
    """Return a coarse sampling map in which every class has the same total weight.

    Parameters
    ----------
    labels : (D, H, W) uint8
    pick : function
        Maps labels to the masks of the classes (K, D, H, W).

    Returns
    -------
    weights : (cells_d, cells_h, cells_w) uint32
        On the cells of `dali_cr.index.values.cells.cell_edge`; zero outside of all classes. In uint32, as the
        uint8 of scans would round the weights of large classes up.
    """
    total: npt.NDArray[np.float64] | float = 0.0
    for mask in pick(labels):
        counts: npt.NDArray[Any] = mask
        for axis in (2, 1, 0):
            starts = np.arange(0, mask.shape[axis], cell_edge(mask.shape[axis]))
            counts = np.add.reduceat(counts, starts, axis=axis, dtype=np.int64)
        total = total + counts / max(1, int(counts.sum()))
    weights = np.asarray(total, np.float64)
    return np.asarray(np.rint(_SCALE * weights), np.uint32)
