"""The store of one item: whether it is there already, and writing it."""

from __future__ import annotations

from pathlib import Path

from dali_cr.tools.importers.item import Item
from dali_cr.volume.access import read_status
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.layout import read_layout
from dali_cr.volume.packed.writer import write_store


def is_finished(path: Path, item: Item) -> bool:
    """Whether a store is there, and was made of the item's files as they are now."""
    try:
        status = read_status(path)
        kept = read_layout(path, status.st_size, status.st_mtime_ns).description
    except VolumeError:  # not there, or damaged: it is written
        return False
    original = kept.original
    same_files = (original.path, original.size, original.mtime_ns) == (item.name, item.size, item.mtime_ns)
    return same_files and item.affine in (None, kept.affine)


def write_item(top: Path, out: Path, level: int, item: Item) -> int | OSError:
    """Read a volume and write its store.

    Parameters
    ----------
    top, out : Path
        The folders of the files and of the stores.
    level : int
        Of LZ4HC.
    item : Item

    Returns
    -------
    size : int or OSError
        Bytes of the store; or why it cannot be written, which concerns the stores that follow as well.

    Raises
    ------
    VolumeError
        If the volume cannot be read.
    """
    try:
        contents = item.read(top, item)
    except VolumeError:
        raise
    except (ValueError, OSError) as error:  # contents that are no volume, a file that went away
        raise VolumeError(item.source, str(error)) from error
    path = out / item.store
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_store(path, contents, level)
    except OSError as error:
        return error
