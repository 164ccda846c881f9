"""The images of a study: where they are, what is in them, and who is learnt from, chosen by and tested on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import dali_cr

from ..data.split import Split, load_split, make_split
from ..data.subjects import find_subject
from ..data.tables import read_table
from ..output.files import write_json
from .declared import Data, Study

HOME = "DALI_CR_DATA"
"""The variable that names a folder with data of any name."""


def find_folders(study: Study, given: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each data: as given by NAME=PATH, or of that name in the folder that `HOME` names.

    Raises
    ------
    ValueError
        If one is not there, or was not asked for.
    """
    pairs = {name: path for name, _, path in (text.partition("=") for text in given)}
    if strange := set(pairs) - set(study.data):
        raise ValueError(f"data: expected NAME=PATH with a name of {', '.join(study.data)}; got {min(strange)}")
    home = os.environ.get(HOME)
    folders = {}
    for name in study.data:
        if name not in pairs and not home:
            raise ValueError(f"data: expected --data {name}=PATH, or {HOME} to name a folder that holds {name}")
        folders[name] = Path(pairs[name] if name in pairs else Path(home or "") / name).absolute()
        if not folders[name].is_dir():
            raise ValueError(f"data: expected a folder for {name}, {folders[name]} is none")
    return folders


def image_folders(data: Data, folder: Path) -> list[Path]:
    """Return the folders that are scanned."""
    return [(folder / one).resolve() for one in data.images]


def index_data(data: Data, folder: Path, index: Path, split: Path) -> None:
    """Scan the images and write who is in which part; what is there already is left as it is.

    Raises
    ------
    ValueError
        If the images were split otherwise before.
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    if not index.exists():
        found = dali_cr.scan(image_folders(data, folder), **data.scan)
        if not len(found):
            refused = "".join(f"; {problem.path}: {problem.reason}" for problem in found.problems[:3])
            raise ValueError(f"data: expected images under {folder}, got none{refused}")
        found.save(index)
    kept = dali_cr.Index.load(index)
    if data.fractions:
        cases = [case.name for case in kept.cases]
        wanted = make_split(cases, data.fractions, data.split_seed, data.subject, kept.copies)
    else:
        wanted = split_by_table(data, folder / str(data.table))
    if split.exists() and load_split(split).hash != wanted.hash:
        raise ValueError(f"data: expected the split of the runs so far, {split}; the study's file now makes another")
    write_json(split, wanted.content())


def split_by_table(data: Data, path: Path) -> Split:
    """Return the split that a column of a CSV file tells.

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
    return Split(parts["pool"], parts["val"], parts["test"], data.subject)
