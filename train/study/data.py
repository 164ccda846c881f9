"""Data sets of a study: their folders, their indexes and their splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import dali_cr
from dali_cr.index.layout.lists import find_root

from ..data.split.make import load_split, make_split
from ..data.split.parts import Split
from ..data.subjects.names import find_subject
from ..data.tables import read_table
from ..output.files import write_json
from .declared import Data, Study

HOME = "DALI_CR_DATA"
"""Environment variable with the parent folder of all data sets."""


def find_folders(study: Study, given: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each data set: from NAME=PATH, or the subfolder NAME of the folder in `HOME`.

    Raises
    ------
    ValueError
        If a folder is missing, or a name is not declared in the study.
    """
    pairs = {name: path for name, _, path in (text.partition("=") for text in given)}
    if strange := set(pairs) - set(study.data):
        raise ValueError(f"data: expected NAME=PATH with NAME one of {', '.join(study.data)}; got {min(strange)}")
    home = os.environ.get(HOME)
    folders = {}
    for name in study.data:
        if name not in pairs and not home:
            raise ValueError(
                f"data: expected a folder for {name}, got none; give --data {name}=PATH, or set {HOME} to the folder "
                f"that holds {name}"
            )
        folders[name] = Path(pairs[name] if name in pairs else Path(home or "") / name).absolute()
        if not folders[name].is_dir():
            raise ValueError(f"data: expected a folder for {name}, {folders[name]} is not a folder")
    return folders


def image_folders(data: Data, folder: Path) -> list[Path]:
    """Return the folders to scan."""
    return [(folder / one).resolve() for one in data.images]


def index_data(data: Data, folder: Path, index: Path, split: Path) -> None:
    """Write the index and the split of a data set; existing ones are kept if the images are the same.

    Copies of the images on another machine have other modification times; then they are scanned again.

    Raises
    ------
    ValueError
        If an earlier start of this study had other images, or split them differently.
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    folders = image_folders(data, folder)
    known = dali_cr.Index.load(index, find_root(folders)) if index.exists() else None
    kept = _scan(data, folders, folder, index, known) if known is None or known.changed() else known
    if data.fractions:
        cases = [case.name for case in kept.cases]
        wanted = make_split(cases, data.fractions, data.split_seed, data.subject, kept.copies)
    else:
        wanted = split_by_table(data, folder / str(data.table))
    if split.exists() and load_split(split).hash != wanted.hash:
        raise ValueError(
            f"data: expected the split of the earlier runs, {split}; the study's file now gives another. Undo "
            "the change, or give the changed file another name"
        )
    write_json(split, wanted.content())


def _scan(data: Data, folders: Sequence[Path], folder: Path, index: Path, known: dali_cr.Index | None) -> dali_cr.Index:
    """Scan the images and save their index."""
    found = dali_cr.scan(folders, **data.scan)
    if not len(found):
        refused = "".join(f"; {problem.path}: {problem.reason}" for problem in found.problems[:3])
        raise ValueError(f"data: expected images under {folder}, got none{refused}")
    if known is not None and found.fingerprint != known.fingerprint:
        raise ValueError(
            f"data: expected the images of the earlier runs, {index}; those under {folder} differ. Restore them, or "
            "give the study's file another name"
        )
    found.save(index)
    return found


def split_by_table(data: Data, path: Path) -> Split:
    """Return the split given by a column of a CSV file.

    Raises
    ------
    ValueError
        If the file has no such column.
    """
    columns, rows = read_table(path)
    if data.column not in columns:
        raise ValueError(f"data: expected the column {data.column} in {path}, which has {', '.join(columns)}")
    parts: Mapping[str, frozenset[str]] = {
        part: frozenset(find_subject(case, data.subject) for case, row in rows.items() if row[data.column] in words)
        for part, words in data.parts.items()
    }
    train = parts["train"] if "train" in parts else parts["pool"]
    return Split(train, parts["val"], parts["test"], data.subject)
