"""Import NIfTI volumes, as `pack` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dali_cr.tools.importers.item import Item, item_of_files
from dali_cr.volume import reader
from dali_cr.volume.packed.contents import StoreContents
from dali_cr.volume.packed.originals import read_original


def find_nifti(top: Path, path: str) -> tuple[Item, Sequence[str]]:
    """Return the item of a NIfTI file, and the files that it reads.

    Raises
    ------
    VolumeError
        If the header is invalid, or the .img of a .hdr is missing.
    """
    data = reader.read_header(top / path)[1].relative_to(top).as_posix()
    files = list(dict.fromkeys((path, data)))
    return item_of_files(top, files, read_nifti), files


def read_nifti(top: Path, item: Item) -> StoreContents:
    """Read a NIfTI file; the free text of its header is dropped.

    Raises
    ------
    VolumeError
        If it cannot be read or is damaged.
    """
    return read_original(top / item.source, item.name)
