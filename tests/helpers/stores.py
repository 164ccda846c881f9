"""Write brick stores for tests, and read them with other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.volume.packed.contents import Original, StoreContents
from dali_cr.volume.packed.store import Store
from dali_cr.volume.packed.writer import write_store

IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
ORIGINAL = Original("a/b.nii.gz", "0" * 64, 1, 2)


def contents_of(voxels: npt.NDArray[Any], **options: Any) -> StoreContents:
    """Return voxels (C, D, H, W) as contents of a store."""
    return StoreContents(voxels=voxels, affine=IDENTITY, original=ORIGINAL, **options)


def write(path: Path, voxels: npt.NDArray[Any], **options: Any) -> Path:
    """Write voxels (C, D, H, W) as a store."""
    write_store(path, contents_of(voxels, **options))
    return path


def little_bytes(voxels: npt.NDArray[Any]) -> bytes:
    """Return voxels as little-endian bytes, without arithmetic."""
    raw = np.ascontiguousarray(voxels).view(np.uint8).reshape(-1, voxels.dtype.itemsize)
    big = voxels.dtype.newbyteorder("=") != voxels.dtype
    return (raw[:, ::-1] if big else raw).tobytes()


def read_by_us(path: Path) -> bytes:
    """Return all voxels of a store, checksums checked."""
    store = Store(path)
    store.verify()
    return store.read_start(store.layout.geometry.data_bytes).tobytes()


def read_by_zarr(path: Path) -> bytes:
    """Return all voxels of a store as zarr-python reads them."""
    import zarr

    with zarr.storage.ZipStore(path, mode="r") as archive:
        return little_bytes(np.asarray(zarr.open_group(archive, mode="r")["0"][...]))


def read_by_tensorstore(path: Path) -> bytes:
    """Return all voxels of a store as tensorstore reads them."""
    import tensorstore

    archive = {"driver": "zip", "base": {"driver": "file", "path": str(path)}, "path": "0/"}
    opened = tensorstore.open({"driver": "zarr3", "kvstore": archive}).result()
    return little_bytes(np.asarray(opened.read().result()))
