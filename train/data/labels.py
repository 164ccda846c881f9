"""Label volumes: which one belongs to which case, whether it can, and what is in it."""

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
from dali_cr.index.values.statistics import cell_edge
from dali_cr.index.volumes import Case
from dali_cr.volume import reader
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.packed.store import original_path

from .label_values import read_values, refuse_lossy
from .subjects import short_name

Labels = npt.NDArray[np.uint8]
Unmatched = Literal["refuse", "leave"]

_SCALE = 2**24
"""What the weights of a class add up to."""

_ANOTHER_GRID = "resample it onto the image's, by nearest neighbour"


def match(
    cases: Sequence[str],
    names: Mapping[str, Any],
    what: str,
    unmatched: Unmatched,
    optional: Container[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Find the entry of each case, by its whole name or by its short one.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    names : mapping
        With the names of the entries as keys.
    what : str
        What an entry is, for messages.
    unmatched : "refuse" or "leave"
        What follows where a case has no entry, or an entry no case.
    optional : container of str
        Entries that need no case.

    Returns
    -------
    found : dict of str to str
        From a case to the name of its entry.
    left : list of str
        Lines about what has no counterpart.

    Raises
    ------
    ValueError
        Naming the first case or entry without a counterpart, or two entries that cannot be told apart.
    """
    short: dict[str, str] = {}
    for name in names:
        if (other := short.setdefault(short_name(name), name)) != name and name not in cases:
            raise ValueError(f"labels: expected one {what} a case, {other} and {name} both fit {short_name(name)}")
    found = {case: case if case in names else short.get(short_name(case)) or _of_channel(case, short) for case in cases}
    lonely = sorted(case for case, name in found.items() if not name)
    strangers = sorted(name for name in set(names) - set(found.values()) if name not in optional)
    left = [f"{name}: image without a {what}" for name in lonely]
    left += [f"{name}: {what} without an image" for name in strangers]
    if left and unmatched == "refuse":
        raise ValueError(
            f"labels: expected a {what} for each image and an image for each {what}; {left[0]}"
            f"{f', and {len(left) - 1} more' if len(left) > 1 else ''}. --unmatched leave goes on without them"
        )
    if len(lonely) == len(cases):
        raise ValueError(f"labels: expected a {what} for each image, none fits; the first is {lonely[0]}")
    return {case: name for case, name in found.items() if name}, left


def share_labels(found: Mapping[str, str]) -> list[list[str]]:
    """Return the cases of each entry that several have, from what `match` found."""
    sharing: dict[str, list[str]] = {}
    for case, name in found.items():
        sharing.setdefault(name, []).append(case)
    return [cases for cases in sharing.values() if len(cases) > 1]


def _of_channel(case: str, short: Mapping[str, str]) -> str:
    """Return the entry of an image that has its channel's number behind its name, as nnU-Net's have; empty for none."""
    return short.get(re.sub(r"_\d{4}$", "", short_name(case)), "")


def find_label_files(folder: Path, pattern: Sequence[str]) -> dict[str, Path]:
    """Return the label files of a folder: by the pattern's {case}, where it has one, else by path.

    Raises
    ------
    ValueError
        If two files are of one case.
    """
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "is not there"
        raise ValueError(f"labels: expected a folder of label volumes, {folder} {there}")
    top, files, _ = find_files(folder, as_patterns(list(pattern)), [], [])
    found: dict[str, Path] = {}
    for path, about in files.items():
        place = top / (about.store or path)
        refuse_lossy(place)
        name = about.case or path
        if name in found:
            raise ValueError(f"labels: expected one label a case, {found[name].name} and {path} are both of {name}")
        found[name] = place
    if not found:
        raise ValueError(f"labels: expected label volumes, no file under {folder} matches {', '.join(pattern)}")
    return found


def by_listed_pairs(files: Mapping[str, Path], index: Index, pairs: Sequence[Pair]) -> dict[str, Path]:
    """Return label files under the name of the case that a `dataset.json` pairs them with, the others as they were.

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
        if len(of) != 1:  # no case, or frames that are cases of their own and have the same file
            continue
        case = listed.setdefault(os.path.realpath(pair.label), min(of))
        if {case} != of:
            raise ValueError(f"labels: expected one case a label, {pair.label} is paired with {case} and {min(of)}")
    named: dict[str, Path] = {}
    for name, path in files.items():
        key = listed.get(os.path.realpath(original_path(path)), name)
        if key in named:
            raise ValueError(f"labels: expected one label a case, {named[key]} and {path} are both of {key}")
        named[key] = path
    return named


def read_labels(path: Path, case: Case) -> Labels:
    """Read the label volume of a case, canonical (D, H, W).

    Raises
    ------
    VolumeError
        If the file cannot be read, lies on another grid than the image, or holds what is no label.
    """
    refuse_lossy(path)
    return read_values(path, _on_grid(path, reader.read_header(path)[0], case))


def _on_grid(path: Path, geometry: Geometry, case: Case) -> Geometry:
    """Return how a label file is read along the axes of the case's image, on whose grid it must be."""
    image = case.volumes[0].geometry
    if (aligned := geometry.aligned(image)) is not None:
        return aligned
    if geometry.shape != image.shape:
        raise VolumeError(
            path, f"on another grid: expected {image.shape} as in {case.name}, got {geometry.shape}; {_ANOTHER_GRID}"
        )
    same = geometry.unit == image.unit or {geometry.unit, image.unit} == {"mm", "unknown"}
    units = "" if same else f" (its header has the unit {geometry.unit}, that has {image.unit})"
    raise VolumeError(
        path,
        f"on another grid: expected its voxels where those of {case.name} are, got them up to "
        f"{geometry.distance(image):.3g} mm away{units}; {_ANOTHER_GRID}",
    )


def read_names(path: Path | None) -> dict[int, str]:
    """Read the names of labels from JSON: {"1": "liver"} or {"liver": 1}, or a file that has these as "labels".

    Raises
    ------
    ValueError
        If it is none of these, or names regions.
    """
    try:
        named = read_dataset_json(path).labels if path else {}
    except ValueError as error:
        raise ValueError(f"names: {error}") from error
    return {value: name for name, values in named.items() for value in values}


def class_map(labels: Labels, pick: Callable[[Labels], npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint32]:
    """Return a coarse map from which crops are centred on every class alike, however small it is.

    Parameters
    ----------
    labels : (D, H, W) uint8
    pick : function
        From labels to the masks of the classes (K, D, H, W).

    Returns
    -------
    weights : (cells_d, cells_h, cells_w) uint32
        On the cells of `dali_cr.index.values.statistics.cell_edge`; all zero where no class is. Wider than the map of a
        scan: in 255ths, a class of many cells would outweigh one of few.
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
