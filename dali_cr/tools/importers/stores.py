"""Write the store of an item, unless it already exists."""

from __future__ import annotations

from pathlib import Path

from dali_cr.tools.conversion import Converted
from dali_cr.tools.importers.item import Item
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.store import Store
from dali_cr.volume.packed.writer import write_store


def import_item(top: Path, out: Path, level: int, item: Item) -> Converted:
    """Write the store of a volume, unless it already exists.

    Parameters
    ----------
    top, out : Path
        The folders of the files and of the stores.
    level : int
        Compression level of LZ4HC.
    item : Item

    Raises
    ------
    VolumeError
        If the volume cannot be read, or the store cannot be written.
    """
    path = out / item.store
    if store := _finished(path, item):
        dtype = store.layout.geometry.dtype
        return Converted(item.source, item.store, "kept", dtype, item.size, path.stat().st_size)
    try:
        contents = item.read(top, item)
    except VolumeError:
        raise
    except (ValueError, OSError) as error:  # invalid contents, or a missing file
        raise VolumeError(item.source, str(error)) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = write_store(path, contents, level)
    except OSError as error:
        raise VolumeError(path, f"cannot be written: {error.strerror or error}") from error
    return Converted(item.source, item.store, "new", contents.dtype, item.size, written)


def _finished(path: Path, item: Item) -> Store | None:
    """Return the store of an earlier run, if it is valid and its files have not changed; else None."""
    try:
        store = Store(path)
    except VolumeError:  # missing or damaged
        return None
    description = store.layout.description
    original = description.original
    same_files = (original.path, original.size, original.mtime_ns) == (item.name, item.size, item.mtime_ns)
    return store if same_files and item.affine in (None, description.affine) else None
