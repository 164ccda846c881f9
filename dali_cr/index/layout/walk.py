"""List all files under one or several folders, with protection against loops of links; hidden files are separate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dali_cr.index.layout.stores import name_stores
from dali_cr.index.volumes import Problem

Roots = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Tree:
    """The files under one folder.

    Attributes
    ----------
    root : Path
    prefix : PurePosixPath
        Path of the folder, relative to the common parent of all roots.
    paths : tuple of str
        Paths relative to `root`, sorted; brick stores have the names of their originals.
    hidden : tuple of str
        Files whose name or folder starts with a dot; never used as data.
    stores : mapping of str to str
        Path of the brick store by name of its original.
    """

    root: Path
    prefix: PurePosixPath
    paths: tuple[str, ...]
    hidden: tuple[str, ...]
    stores: Mapping[str, str] = field(default_factory=dict)

    def store_of(self, path: str) -> str:
        """Return the brick store of a file, relative to the common parent; empty if the file itself exists."""
        store = self.stores.get(path)
        return (self.prefix / store).as_posix() if store else ""


def find_top(root: Roots) -> tuple[Path, list[Path]]:
    """Return the common parent of one or several folders, and the absolute folders.

    Raises
    ------
    FileNotFoundError
        If a root is not a folder.
    ValueError
        If there is no root, or one is a URL.
    """
    given = [root] if isinstance(root, (str, os.PathLike)) else list(root)
    if not given:
        raise ValueError("root: expected at least one folder, got none")
    for one in given:
        refuse_url(one)
    roots = [Path(r).absolute() for r in given]
    for folder in roots:
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise FileNotFoundError(f"{folder}: expected a folder of volumes, {found} is there")
    return Path(os.path.commonpath(roots)), roots


def refuse_url(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a path is a URL."""
    if _URL.match(os.fspath(path)) and not os.path.exists(path):
        raise ValueError(
            f"root: expected a path on this machine, got the URL {os.fspath(path)}; download the data first"
        )


def walk_trees(root: Roots) -> tuple[Path, list[Tree], list[Problem]]:
    """List all files under one or several folders.

    Returns
    -------
    top : Path
        The folder, or the common parent of several folders.
    trees : list of Tree
        One per root.
    problems : list of Problem
        Folders that cannot be read, and brick stores whose originals exist too.

    Raises
    ------
    FileNotFoundError
        If a root is not a folder.
    ValueError
        If there is no root, or one is a URL.
    """
    top, roots = find_top(root)
    problems: list[Problem] = []
    trees = []
    for folder in roots:
        prefix = folder.relative_to(top)
        hidden: list[str] = []
        paths = list(_walk(folder, prefix, problems, hidden))
        names, stores, taken = name_stores(folder, paths)
        problems += [Problem((prefix / problem.path).as_posix(), problem.reason) for problem in taken]
        trees.append(Tree(folder, PurePosixPath(prefix.as_posix()), tuple(names), tuple(hidden), stores))
    return top, trees, problems


def _walk(folder: Path, prefix: Path, problems: list[Problem], hidden: list[str]) -> Iterator[str]:
    """Yield relative paths of files; links are followed, each folder once; hidden files are added to `hidden`."""

    def refuse(error: OSError) -> None:
        place = prefix / Path(error.filename or folder).relative_to(folder)
        problems.append(Problem(place.as_posix(), f"folder that cannot be read: {error.strerror or error}"))

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            status = os.stat(place)
        except OSError as error:
            refuse(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below = PurePosixPath(Path(place).relative_to(folder).as_posix())
        for name in folders:
            if name.startswith("."):
                hidden.extend(_files_below(Path(place, name), folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        hidden.extend(str(below / name) for name in names if name.startswith("."))
        yield from (str(below / name) for name in sorted(names) if not name.startswith("."))


def _files_below(hidden: Path, folder: Path) -> Iterator[str]:
    """Yield the files of a hidden folder, relative to `folder`; a link is yielded, not followed."""
    if hidden.is_symlink():
        yield hidden.relative_to(folder).as_posix()
        return
    for place, _, names in os.walk(hidden):
        yield from (Path(place, name).relative_to(folder).as_posix() for name in names)
