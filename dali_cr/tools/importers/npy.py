"""Import NumPy arrays (.npy), with a given spacing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dali_cr.tools.importers.axes import NO_ANATOMY, unplaced
from dali_cr.tools.importers.item import Item, hash_files, item_of_files
from dali_cr.volume.geometry import DTYPES, VolumeError
from dali_cr.volume.grid import Spacing
from dali_cr.volume.packed.contents import StoreContents


def find_npy(top: Path, path: str, spacing: Spacing | None) -> Item:
    """Return the item of a NumPy file.

    Raises
    ------
    VolumeError
        If no spacing is given.
    """
    if spacing is None:
        raise VolumeError(path, "a NumPy array has no spacing; give --spacing D H W in mm")
    return item_of_files(top, [path], partial(read_npy, spacing=spacing), unplaced(spacing))


def read_npy(top: Path, item: Item, spacing: Spacing) -> StoreContents:
    """Read a NumPy file as (H, W), (D, H, W) or (C, D, H, W); nothing is unpickled.

    Parameters
    ----------
    top : Path
    item : Item
    spacing : (3,) float
        Spacing in mm along (D, H, W).

    Raises
    ------
    VolumeError
        If it is not an array of real numbers with 2 to 4 axes.
    """
    path = top / item.source
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # raises ValueError for arrays of objects
    except (ValueError, OSError) as error:
        raise VolumeError(path, f"NumPy array that cannot be read: {error}") from error
    if not 2 <= array.ndim <= 4 or not array.size:
        raise VolumeError(path, f"shape: expected (H, W), (D, H, W) or (C, D, H, W), got {array.shape}")
    if array.dtype.newbyteorder("=").name not in DTYPES:
        raise VolumeError(path, f"dtype: expected one of {', '.join(DTYPES)}, got {array.dtype}")
    voxels = array.reshape((1,) * (4 - array.ndim) + array.shape)
    original = item.original(hash_files([path]))
    return StoreContents(voxels=voxels, affine=unplaced(spacing), original=original, orientation=NO_ANATOMY)
