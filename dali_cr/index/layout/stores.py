"""Brick stores under the names of the files that they were made from: a packed folder is listed as its original was."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dali_cr.index.volumes import Problem
from dali_cr.volume.packed.layout import is_store
from dali_cr.volume.packed.store import original_of, store_beside

_THREADS = 16
"""On a network drive each file takes its time."""


def name_stores(root: Path, paths: Iterable[str]) -> tuple[list[str], dict[str, str], list[Problem]]:
    """Put the names of originals in place of those of brick stores.

    Parameters
    ----------
    root : Path
    paths : iterable of str
        Files under it, relative.

    Returns
    -------
    names : list of str
        Sorted. A store that was made of no NIfTI file, or cannot be read, keeps its own name.
    stores : dict of str to str
        From an original's name to the path of its store.
    problems : list of Problem
        Stores whose name is taken by another file.
    """
    names: list[str] = []
    packed: list[str] = []
    for path in paths:
        (packed if is_store(path) else names).append(path)
    taken = set(names)
    stores: dict[str, str] = {}
    problems: list[Problem] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        originals = pool.map(lambda path: original_of(root / path), packed)
        for path, original in zip(packed, originals, strict=True):
            name = (PurePosixPath(path).parent / original).as_posix()
            if name in taken:
                problems.append(Problem(path, f"made from {name}, which is there as {stores.get(name, name)} too"))
            else:
                taken.add(name)
                stores[name] = path
    return sorted(taken), {name: path for name, path in stores.items() if name != path}, problems


def find_stores(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the brick stores of files that are not there themselves, by the files' paths."""
    found = {path: store_beside(root / path) for path in paths}
    return {path: store.relative_to(root).as_posix() for path, store in found.items() if store}
