"""Lists of files: a CSV file, or nnssl's list of a collection."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dali_cr.index.corpus.nnssl import is_collection, read_collection
from dali_cr.index.files import Found, is_readable
from dali_cr.index.layout.csv_files import is_table, read_csv_files
from dali_cr.index.layout.stores import find_stores, name_stores
from dali_cr.index.layout.walk import Roots
from dali_cr.index.volumes import Problem

_UNREAD = "expected .nii, .nii.gz, .hdr, .ozx, .png or .jpg in the list, got another suffix"


def find_list(root: Roots) -> Path | None:
    """Return the root if it is a CSV file or nnssl's list, else None."""
    given = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    tables = [Path(one) for one in given if (is_table(one) or is_collection(one)) and os.path.isfile(one)]
    if tables and len(given) > 1:
        raise ValueError(f"root: expected folders, or one CSV file or JSON file, got {', '.join(map(str, given))}")
    return tables[0] if tables else None


def find_root(root: Roots) -> Path:
    """Return the root that paths of an index of these folders, or of this CSV file, are relative to."""
    if table := find_list(root):
        return read_collection(table)[0] if is_collection(table) else read_csv_files(table)[0]
    given = [root] if isinstance(root, (str, os.PathLike)) else root
    return Path(os.path.commonpath([Path(one).absolute() for one in given]))


def read_list(table: Path, channels: Sequence[str]) -> tuple[Path, dict[str, Found], list[Problem], str]:
    """Read the files that a list names.

    Parameters
    ----------
    table : Path
        From `find_list`.
    channels : sequence of str

    Returns
    -------
    top : Path
        The folder that paths are relative to.
    files : dict of str to Found
    problems : list of Problem
    kind : "csv" or "nnssl"

    Raises
    ------
    ValueError
        If the list is invalid, or has no channels although some are given.
    """
    listed = is_collection(table)
    top, files = read_collection(table) if listed else read_csv_files(table)
    if channels and not any(found.channel for found in files.values()):
        raise ValueError(f"channels: expected a column channel in {table}, got none")
    problems = [Problem(path, _UNREAD) for path in files if not is_readable(path)]
    files, taken = under_originals(top, {path: found for path, found in files.items() if is_readable(path)})
    return top, files, [*problems, *taken], "nnssl" if listed else "csv"


def under_originals(top: Path, files: Mapping[str, Found]) -> tuple[dict[str, Found], list[Problem]]:
    """Return listed files with brick stores under the names of their originals, and a problem for each duplicate.

    A missing file is read from its brick store, if there is one.
    """
    _, named, problems = name_stores(top, files)
    names = {store: name for name, store in named.items()}
    missing = find_stores(top, files)
    duplicates = {problem.path for problem in problems}
    found = {
        names.get(path, path): replace(file, store=path if path in names else missing.get(path, ""))
        for path, file in files.items()
        if path not in duplicates
    }
    return dict(sorted(found.items())), problems
