"""List brick stores under the names of their original files, so that a packed folder is indexed like the original."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dali_cr.index.volumes import Problem
from dali_cr.volume.packed.layout import is_store
from dali_cr.volume.packed.store import find_store, original_of

_THREADS = 16
"""Number of threads, because opening files on a network drive is slow."""


def name_stores(root: Path, paths: Iterable[str]) -> tuple[list[str], dict[str, str], list[Problem]]:
    """Replace the names of brick stores by those of their originals.

    Parameters
    ----------
    root : Path
    paths : iterable of str
        Relative paths of files.

    Returns
    -------
    names : list of str
        Sorted names. A store keeps its name if its original is not a NIfTI file or it cannot be read.
    stores : dict of str to str
        Path of the store by name of the original.
    problems : list of Problem
        Stores whose original exists too, or has another store.
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
                problems.append(Problem(path, f"made from {name}, which also exists as {stores.get(name, name)}"))
            else:
                taken.add(name)
                stores[name] = path
    return sorted(taken), {name: path for name, path in stores.items() if name != path}, problems


def find_stores(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the brick stores of missing files, by path of the file."""
    found = {path: find_store(root / path) for path in paths}
    return {path: store.relative_to(root).as_posix() for path, store in found.items() if store}
