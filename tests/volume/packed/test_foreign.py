"""Test stores written by other programs: read if bricks are one block of LZ4 or zlib, else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dali_cr
from dali_cr.volume.packed.metadata import group_document
from dali_cr.volume.packed.store import Store
from tests.helpers import stores

zarr = pytest.importorskip("zarr", reason="zarr 3 needs Python 3.11")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a warning of zarr about a name that is written twice

BRICK = {"cname": "lz4hc", "blocksize": 65536}


def write(path: Path, voxels: np.ndarray, blosc: dict[str, Any], **options: Any) -> Path:
    """Write voxels with zarr-python, which orders the bricks of a shard along a Morton curve."""
    from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

    attributes = json.loads(group_document(stores.contents_of(voxels)))["attributes"]
    layout = {"chunks": (1, 32, 32, 32), "shards": (1, 96, 64, 64), "fill_value": 0, **options}
    with zarr.storage.ZipStore(path, mode="w") as archive:
        group = zarr.create_group(archive, attributes=attributes)
        codecs = [BloscCodec(**{**BRICK, **blosc}), Crc32cCodec()]
        if layout.pop("plain", False):
            codecs = codecs[:1]
        array = group.create_array(
            "0",
            shape=voxels.shape,
            dtype=voxels.dtype,
            serializer=BytesCodec(endian=layout.pop("endian", "little")),
            compressors=codecs,
            **layout,
        )
        array[...] = voxels
    return path


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60, (1, 70, 64, 40)).astype(np.int16)


@pytest.mark.parametrize(
    "blosc",
    [{"shuffle": "shuffle"}, {"shuffle": "noshuffle"}, {"cname": "lz4", "clevel": 1}, {"clevel": 0}, {"cname": "zlib"}],
)
def test_lz4_and_zlib_in_one_block_are_read(tmp_path: Path, voxels: np.ndarray, blosc: dict[str, Any]) -> None:
    """Test bricks shuffled or not, compressed or stored, in any order in the file."""
    path = write(tmp_path / "a.ozx", voxels, {"shuffle": "shuffle", **blosc})
    offsets = Store(path)._table[..., 0].ravel()
    assert (np.diff(offsets) < 0).any()
    assert stores.read_by_us(path) == stores.read_by_zarr(path) == voxels.tobytes()
    np.testing.assert_array_equal(dali_cr.read_volume(path), voxels)


@pytest.mark.parametrize("shuffle", ["shuffle", "noshuffle"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_streams_that_are_stored_beside_compressed_ones(tmp_path: Path, dtype: Any, shuffle: str) -> None:
    """Test bricks of which some byte planes, or parts of the voxels, do not become smaller and are stored."""
    size = np.dtype(dtype).itemsize
    content = np.random.default_rng(0).integers(0, 100, (1, 70, 64, 40 * size), np.uint8)
    content[:, :, :, size // 2 :: size] = 3
    content[:, 8:24] = 3
    voxels = content.view(dtype)
    path = write(tmp_path / "a.ozx", voxels, {"shuffle": shuffle, "blocksize": 32_768 * size})
    assert stores.read_by_us(path) == stores.read_by_zarr(path) == voxels.tobytes()


@pytest.mark.parametrize("blosc", [{"cname": "zstd"}, {"shuffle": "bitshuffle"}, {"blocksize": 8192}])
def test_other_bricks_are_refused(tmp_path: Path, voxels: np.ndarray, blosc: dict[str, Any]) -> None:
    voxels = voxels.astype(np.float64) if "blocksize" in blosc else voxels
    path = write(tmp_path / "a.ozx", voxels, {"shuffle": "shuffle", **blosc})
    with pytest.raises(dali_cr.VolumeError, match="a.ozx: brick 0 of channel 0: expected LZ4 or zlib"):
        stores.read_by_us(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill_value": 7}, "fill value"),
        ({"endian": "big"}, "codecs"),
        ({"plain": True}, "codecs"),
        ({"chunks": (1, 16, 32, 32)}, "brick"),
        ({"shards": (1, 96, 128, 64)}, "grid"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, voxels: np.ndarray, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.ozx", voxels, {}, **options)
    with pytest.raises(dali_cr.VolumeError, match=f"a.ozx: brick store that cannot.*got another one in: .*{message}"):
        Store(path)


def test_a_store_of_another_program_has_no_orientation(tmp_path: Path, voxels: np.ndarray) -> None:
    with zarr.storage.ZipStore(tmp_path / "a.ozx", mode="w") as archive:
        zarr.create_group(archive, attributes={"ome": {"version": "0.5"}})
    with pytest.raises(dali_cr.VolumeError, match=r"a.ozx: .*expected attributes of dali_cr, got none"):
        dali_cr.read_volume(tmp_path / "a.ozx")
