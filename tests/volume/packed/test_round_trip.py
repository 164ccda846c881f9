"""Test that stores are read back bit for bit by dali_cr, zarr-python and tensorstore."""

from __future__ import annotations

import itertools
import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.volume.geometry import DTYPES
from dali_cr.volume.packed.bricks import BRICK_VOXELS, brick_shape
from dali_cr.volume.packed.contents import Original, StoreContents
from dali_cr.volume.packed.metadata import ARRAY, GROUP, SHARD
from dali_cr.volume.packed.store import Store
from dali_cr.volume.packed.writer import write_store
from tests.helpers import stores
from tests.helpers.volumes import ORIENTATIONS, expected, random_numbers, write_nifti

pytest.importorskip("zarr", reason="zarr 3 needs Python 3.11")

SHAPES = ((1, 20, 33, 40), (2, 5, 34, 30), (1, 1, 140, 70), (3, 33, 9, 1))
KINDS = ("noise", "smooth", "sparse")


def voxels_of(dtype: str, shape: tuple[int, ...], kind: str, number: int) -> np.ndarray:
    """Return voxels in either byte order; floats include NaN with payloads, signalling NaN and -0.0."""
    rng = np.random.default_rng(number)
    order = "<>"[number % 2] + np.dtype(dtype).str[1:]
    if kind == "noise":
        voxels = random_numbers(rng, shape, order).astype(order)
    else:
        values = np.cumsum(np.ones(shape), -1) * 3 if kind == "smooth" else (rng.random(shape) < 0.01) * 100
        voxels = values.astype(order)
    if voxels.dtype.kind == "f":
        bits = voxels.view(voxels.dtype.str.replace("f", "u"))
        quiet, signalling = (0x7FC00123, 0x7FA00001) if voxels.itemsize == 4 else (0x7FF8000000000123, 0x7FF4 << 48 | 1)
        bits[0, 0, 0], bits[0, -1, 1] = quiet, signalling
        voxels[-1, 0, 2] = -0.0
        if kind == "sparse":
            voxels[0] = -0.0  # bricks that must be stored
    return voxels


CASES = list(itertools.product(DTYPES, SHAPES, KINDS))


@pytest.mark.parametrize(("dtype", "shape"), list(itertools.product(DTYPES, SHAPES)))
def test_every_array_is_read_back_by_all(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    assert len(CASES) >= 120
    for kind in KINDS:
        voxels = voxels_of(dtype, shape, kind, CASES.index((dtype, shape, kind)))
        path = stores.write(tmp_path / f"{kind}.ozx", voxels)
        wanted = stores.little_bytes(voxels)
        assert stores.read_by_us(path) == wanted
        assert stores.read_by_zarr(path) == wanted
        assert stores.read_by_tensorstore(path) == wanted


@pytest.mark.parametrize("number", range(48))
def test_every_orientation_dtype_and_scaling_gives_the_values_of_its_file(tmp_path: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    dtype = "<>"[number % 2] + np.dtype(DTYPES[number % 10]).str[1:]
    shape = [(5, 4, 3), (6, 7, 1), (3, 4, 5, 2)][number % 3]
    options = {"slope": [None, 0.5, -2.0, 1e-3][number % 4], "intercept": [0.0, -3.25][number % 2]}
    kind = [nib.Nifti1Image, nib.Nifti2Image][number // 24]
    path = write_nifti(
        tmp_path / "in" / f"a.nii{'.gz' * (number % 5 > 0)}",
        random_numbers(rng, shape, dtype),
        orientation=ORIENTATIONS[number],
        dtype=dtype,
        spacing=(0.7, 1.25, 3.0),
        kind=kind,
        **options,
    )
    dali_cr.pack(tmp_path / "in", tmp_path / "out", progress=False)
    store = tmp_path / "out" / "a.ozx"
    np.testing.assert_array_equal(dali_cr.read_volume(store), dali_cr.read_volume(path))
    geometry = Store(store).layout.geometry
    raw = np.frombuffer(stores.read_by_zarr(store), geometry.numpy_dtype).astype(np.float64)
    np.testing.assert_allclose(raw * geometry.slope + geometry.intercept, expected(path).ravel(), rtol=1e-6)


def test_the_documents_describe_the_array(tmp_path: Path) -> None:
    affine = ((0.5, 0.0, 0.0, -9.0), (0.0, 2.0, 0.0, 1.0), (0.0, 0.0, 3.0, 4.0), (0.0, 0.0, 0.0, 1.0))
    original = Original("sub/x.nii.gz", "ab" * 32, 1234, 5678)
    voxels = np.arange(120, dtype=np.int16).reshape(1, 4, 5, 6)
    contents = StoreContents(voxels=voxels, affine=affine, original=original, slope=0.1, unit="micron")
    size = write_store(tmp_path / "x.ozx", contents)
    assert size == (tmp_path / "x.ozx").stat().st_size
    with zipfile.ZipFile(tmp_path / "x.ozx") as archive:
        assert archive.namelist() == [GROUP, ARRAY, SHARD]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None
        assert json.loads(archive.comment)["ome"]["zipFile"]["centralDirectory"]["jsonFirst"]
        group = json.loads(archive.read(GROUP))
    (image,) = group["attributes"]["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 3.0, 2.0, 0.5]}]
    layout = Store(tmp_path / "x.ozx").layout
    assert layout.description.original == original
    assert layout.geometry.affine == affine
    assert (layout.geometry.slope, layout.geometry.unit, layout.geometry.spacing) == (0.1, "micron", (3.0, 2.0, 0.5))


LZ4, ZLIB = "lz4hc shuffle", "zlib noshuffle"


@pytest.mark.parametrize(
    ("coding", "dtype"), [(LZ4, "int16"), ("lz4hc noshuffle", "float32"), (ZLIB, "float32"), (ZLIB, "uint8")]
)
def test_a_volume_is_compressed_as_suits_it(tmp_path: Path, coding: str, dtype: str) -> None:
    """Check for shuffled bytes if smallest, and for zlib if it is much smaller, as for random voxels of few levels."""
    rng = np.random.default_rng(0)
    levels = np.random.default_rng(1).integers(0, 20 if dtype == "uint8" else 200, (1, 32, 40, 50))
    voxels = {
        LZ4: rng.integers(700, 1000, (1, 32, 40, 50)),
        "lz4hc noshuffle": np.tile(rng.random((1, 1, 10, 1), np.float32), (1, 32, 4, 50)),
        ZLIB: levels * (np.float32(0.123) if dtype == "float32" else 1),
    }[coding].astype(dtype)
    path = stores.write(tmp_path / "a.ozx", voxels)
    with zipfile.ZipFile(path) as archive:
        ((_, blosc, _),) = (codec["configuration"]["codecs"] for codec in json.loads(archive.read(ARRAY))["codecs"])
    assert f"{blosc['configuration']['cname']} {blosc['configuration']['shuffle']}" == coding
    wanted = voxels.tobytes()
    assert stores.read_by_us(path) == stores.read_by_zarr(path) == stores.read_by_tensorstore(path) == wanted


def test_empty_bricks_are_not_stored(tmp_path: Path) -> None:
    voxels = np.zeros((1, 64, 64, 64), np.float32)
    empty = stores.write(tmp_path / "empty.ozx", voxels).stat().st_size
    voxels[0, 40, 40, 40] = -0.0
    assert stores.write(tmp_path / "one.ozx", voxels).stat().st_size > empty
    assert stores.read_by_us(tmp_path / "one.ozx") == voxels.tobytes()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 512, 512), (3, 3, 3), (17, 300, 20), (200, 2, 2), (33, 33, 33)])
def test_bricks_have_one_size(shape: tuple[int, int, int]) -> None:
    assert np.prod(brick_shape(shape)) == BRICK_VOXELS


@pytest.mark.parametrize(
    "fault", ["shape", "dtype", "affine", "slope", "orientation", "unit", "header", "sha256", "path"]
)
def test_contents_that_cannot_be_stored_are_refused(fault: str) -> None:
    wrong = {
        "shape": {"voxels": np.zeros((4, 5, 6), np.int16)},
        "dtype": {"voxels": np.zeros((1, 4, 5, 6), np.complex64)},
        "affine": {"affine": ((1.0, 0.0), (0.0, 1.0))},
        "slope": {"slope": 0.0},
        "orientation": {"orientation": "RLS"},
        "unit": {"unit": "inch"},
        "header": {"header": b"short"},
        "sha256": {},
        "path": {},
    }[fault]
    with pytest.raises(ValueError, match=f"{fault}|scaling|voxels"):
        if fault in ("sha256", "path"):
            Original("" if fault == "path" else "a.nii", "0" * (64 if fault == "path" else 3), 1, 1)
        values = {"voxels": np.zeros((1, 4, 5, 6), np.int16), "affine": stores.IDENTITY, "original": stores.ORIGINAL}
        StoreContents(**{**values, **wrong})  # type: ignore[arg-type]
