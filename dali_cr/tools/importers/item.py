"""What is imported: the files of one volume, the store it becomes, and the function that reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dali_cr.index.volumes import Problem
from dali_cr.volume.access import read_status
from dali_cr.volume.packed.contents import Affine, Original, StoreContents
from dali_cr.volume.packed.store import store_names

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Item:
    """One volume to import.

    Attributes
    ----------
    name : str
        Original path that the store keeps, relative, with forward slashes: cases are named after it.
    store : str
        Of the store, relative to the folder of stores.
    source : str
        A file, relative to the imported folder: the first one of a series.
    size, mtime_ns : int
        Kept in the store. One that has the same is not written again.
    read : callable of (Path, Item) -> StoreContents
        Of the imported folder. It raises VolumeError, and it pickles.
    affine : (4, 4) tuple of float, optional
        Where it follows from what the user says: a store that has another is written again.
    """

    name: str
    store: str
    source: str
    size: int
    mtime_ns: int
    read: Callable[[Path, Item], StoreContents]
    affine: Affine | None = None

    def __str__(self) -> str:
        return self.source

    def original(self, sha256: str) -> Original:
        """Return what the store keeps about its files."""
        return Original(self.name, sha256, self.size, self.mtime_ns)


@dataclass
class Findings:
    """What is to be imported, what is refused and why, and what is done to values or series."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Take what another one found."""
        self.items += other.items
        self.problems += other.problems
        self.remarks += other.remarks


def item_of_files(
    top: Path, files: Sequence[str], read: Callable[[Path, Item], StoreContents], affine: Affine | None = None
) -> Item:
    """Return the item of one file, or of a header and the files that hold its voxels.

    Parameters
    ----------
    top : Path
        What paths are relative to.
    files : sequence of str
        The header first.
    read : callable
    affine : (4, 4) tuple of float, optional

    Raises
    ------
    VolumeError
        If a file is not there.
    """
    found = [read_status(top / file) for file in files]
    size, mtime_ns = sum(status.st_size for status in found), max(status.st_mtime_ns for status in found)
    path = PurePosixPath(files[0])
    store = (path.parent / store_names(path.name)[0]).as_posix()
    return Item(files[0], store, files[0], size, mtime_ns, read, affine)


def long_name(item: Item) -> str:
    """Return a store that has the suffix of the item's file in its name."""
    path = PurePosixPath(item.name)
    return (path.parent / store_names(path.name)[1]).as_posix()


def hash_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file; of several, that of their digests in this order."""
    digests = [_hash_file(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
