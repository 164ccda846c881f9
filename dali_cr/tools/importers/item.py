"""`Item`: a volume to import, with its files, its store and the function that reads it."""

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
        Relative path that is recorded in the store, with forward slashes; used for names of cases.
    store : str
        Path of the store, relative to the folder of stores.
    source : str
        The file, or the first file of a series, relative to the imported folder.
    size, mtime_ns : int
        Recorded in the store; a store with the same values is not written again.
    read : callable of (Path, Item) -> StoreContents
        Reads the volume from the imported folder; raises VolumeError, and must be picklable.
    affine : (4, 4) tuple of float, optional
        Affine from the user's settings, if any; a store with another affine is written again.
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
        """Return the description of the files for the store."""
        return Original(self.name, sha256, self.size, self.mtime_ns)


@dataclass
class Findings:
    """Volumes to import, refused files with reasons, and remarks on values or series."""

    items: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Add the findings of another search."""
        self.items += other.items
        self.problems += other.problems
        self.remarks += other.remarks


def item_of_files(
    top: Path, files: Sequence[str], read: Callable[[Path, Item], StoreContents], affine: Affine | None = None
) -> Item:
    """Return the item of one file, or of a header and the files with its voxels.

    Parameters
    ----------
    top : Path
        The folder that paths are relative to.
    files : sequence of str
        Paths of the files, the header first.
    read : callable
    affine : (4, 4) tuple of float, optional

    Raises
    ------
    VolumeError
        If a file does not exist.
    """
    found = [read_status(top / file) for file in files]
    size, mtime_ns = sum(status.st_size for status in found), max(status.st_mtime_ns for status in found)
    path = PurePosixPath(files[0])
    store = (path.parent / store_names(path.name)[0]).as_posix()
    return Item(files[0], store, files[0], size, mtime_ns, read, affine)


def long_name(item: Item) -> str:
    """Return the longer name of an item's store, with the suffix of its file."""
    path = PurePosixPath(item.name)
    return (path.parent / store_names(path.name)[1]).as_posix()


def hash_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file, or of the concatenated digests of several files."""
    digests = [_hash_file(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
