"""`unpack`: convert brick stores back to NIfTI files with the voxels and geometry of the originals."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import Executor
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from dali_cr.index.layout.walk import walk_trees
from dali_cr.system.atomic import write_whole
from dali_cr.system.owner import own_folder
from dali_cr.tools.conversion import Conversion, Converted, convert
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.layout import SUFFIX, is_store
from dali_cr.volume.packed.originals import original_header
from dali_cr.volume.packed.store import Store

_GZIP_LEVEL = 6


def unpack(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    progress: bool = True,
) -> Conversion:
    """Convert brick stores to NIfTI files, after verifying every checksum.

    Parameters
    ----------
    source : path
        Store, or folder of stores.
    out : path
        Folder for the files, with the same subfolders as the source. Files have the names of their originals (.nii.gz
        for pairs and other formats). Existing files are overwritten.
    executor : concurrent.futures.Executor, optional
        Executor that writes files. Default: threads of this process, one per core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    conversion : Conversion
        Its text is a table of sizes.

    Raises
    ------
    FileNotFoundError
        If the source does not exist or has no store.
    ValueError
        If another process writes to `out`.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    if source.is_file():
        root, stores = source.parent, [source.name]
    else:
        _, (tree,), problems = walk_trees(source)
        named = [tree.stores.get(path, path) for path in tree.paths]
        root, stores = source, sorted({path for path in named if is_store(path)} | {p.path for p in problems})
    if not stores:
        raise FileNotFoundError(f"{source}: expected brick stores ({SUFFIX}), got none")
    with own_folder(out):
        return convert(partial(_unpack_file, root, out), stores, "unpack", executor, progress)


def _unpack_file(root: Path, out: Path, path: str) -> Converted:
    store = Store(root / path)
    store.verify()
    geometry = store.layout.geometry
    target = (PurePosixPath(path).parent / _name(PurePosixPath(path).name, store)).as_posix()
    content = nifti_bytes(store)
    if target.lower().endswith(".gz"):
        content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
    (out / target).parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(out / target, content)
    except OSError as error:
        raise VolumeError(out / target, f"cannot be written: {error.strerror or error}") from error
    return Converted(path, target, "new", geometry.dtype, (root / path).stat().st_size, len(content))


def _name(own: str, store: Store) -> str:
    """Return the name of the NIfTI file of a store."""
    original = store.layout.description.original.name
    if original.lower().endswith((".nii", ".nii.gz")):
        return original
    return own[: -len(SUFFIX)] + ".nii.gz"


def nifti_bytes(store: Store) -> bytes:
    """Return the content of a .nii file: header without texts and voxels, as in the original.

    Raises
    ------
    VolumeError
        If the store is damaged or its header does not fit its voxels.
    """
    stored = store.layout.geometry
    shape = (stored.frames, *stored.shape)
    header, geometry = original_header(store.path, store.layout.description, stored.dtype, shape)
    out = np.zeros(geometry.data_offset + geometry.data_bytes, np.uint8)
    head = np.frombuffer(header.binaryblock, np.uint8)
    out[: head.size] = head
    raw = store.read_start(stored.data_bytes).view(stored.numpy_dtype).reshape(shape)
    for frame, voxels in enumerate(raw):
        geometry.view(out, frame, (0, 0, 0), geometry.shape)[...] = voxels
    return out.tobytes()
