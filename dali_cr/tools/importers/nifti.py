"""NIfTI volumes, read by the reader that reads them everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dali_cr.tools.importers.item import Item, hash_files, item_of_files
from dali_cr.volume import reader
from dali_cr.volume.packed.contents import StoreContents


def find_nifti(top: Path, path: str) -> tuple[Item, Sequence[str]]:
    """Return the item of a NIfTI file, and the files that are read for it.

    Raises
    ------
    VolumeError
        If its header is none, or the .img of a .hdr is missing.
    """
    data = reader.read_header(top / path)[1].relative_to(top).as_posix()
    files = list(dict.fromkeys((path, data)))
    return item_of_files(top, files, read_nifti), files


def read_nifti(top: Path, item: Item) -> StoreContents:
    """Read a NIfTI file.

    Raises
    ------
    VolumeError
        If it cannot be read, or is damaged.
    """
    geometry, data = reader.read_header(top / item.source)
    content, _ = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    frames = [geometry.view(content, frame, (0, 0, 0), geometry.shape) for frame in range(geometry.frames)]
    voxels = np.stack(frames) if len(frames) > 1 else frames[0][None]
    files = [top / item.source, *([data] if data != top / item.source else [])]
    return StoreContents(
        voxels=voxels,
        affine=geometry.affine,
        original=item.original(hash_files(files)),
        slope=geometry.slope,
        intercept=geometry.intercept,
        orientation=geometry.orientation,
        unit=geometry.unit,
    )
