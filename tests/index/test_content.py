"""Test the hash of a volume's content: independent of how the file stores it, different for different images."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dali_cr
from dali_cr.index.values import content
from dali_cr.index.values.frames import read_volumes
from dali_cr.volume.geometry import DTYPES
from tests.helpers.volumes import ORIENTATIONS, random_numbers, write_nifti

SHAPE = (7, 6, 5)


def hash_of(path: Path) -> str:
    (volume,) = read_volumes(path.parent, path.name)
    return volume.content_sha256


def definition(path: Path) -> str:
    """Return the hash by its definition, from the array of `read_volume`."""
    values = dali_cr.read_volume(path)[0] + np.float32(0)  # -0 + 0 is 0
    values[np.isnan(values)] = np.nan
    return hashlib.sha256(struct.pack("<3q", *values.shape) + values.astype("<f4").tobytes()).hexdigest()


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE)


@pytest.mark.parametrize("slope", [None, 1.0, -0.3, 1e-40], ids=str)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_values_are_those_of_read_volume(tmp_path: Path, dtype: str, order: str, slope: float | None) -> None:
    raw = random_numbers(np.random.default_rng(1), SHAPE, dtype)
    raw[0, 0, :3] = 0
    if raw.dtype.kind == "f":
        raw[1, 1] = [0.0, -0.0, np.nan, 1e-42, np.inf]
    stored = order + np.dtype(dtype).str[1:]
    path = write_nifti(tmp_path / "v.nii", raw, dtype=stored, orientation="PSR", slope=slope, intercept=-0.0)
    assert hash_of(path) == definition(path)


def test_the_hash_is_as_defined(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", np.arange(6).reshape(1, 2, 3))  # x, y, z
    values = struct.pack("<6f", 0, 3, 1, 4, 2, 5)  # z, y, x
    assert hash_of(path) == hashlib.sha256(struct.pack("<3q", 3, 2, 1) + values).hexdigest()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_and_compression_do_not_matter(tmp_path: Path, numbers: np.ndarray, orientation: str) -> None:
    wanted = hash_of(write_nifti(tmp_path / "v.nii", numbers))
    assert hash_of(write_nifti(tmp_path / "turned.nii.gz", numbers, orientation=orientation)) == wanted


@pytest.mark.parametrize(
    "dtype", [order + np.dtype(dtype).str[1:] for dtype in DTYPES if dtype != "int8" for order in "<>"]
)
def test_dtype_and_byte_order_do_not_matter(tmp_path: Path, numbers: np.ndarray, dtype: str) -> None:
    wanted = hash_of(write_nifti(tmp_path / "v.nii", numbers))
    assert hash_of(write_nifti(tmp_path / "other.nii", numbers, dtype=dtype, spacing=(2, 2, 3))) == wanted


def test_a_scale_in_the_header_is_the_same_as_scaled_values(tmp_path: Path, numbers: np.ndarray) -> None:
    scaled = write_nifti(tmp_path / "scaled.nii", numbers, slope=0.37, intercept=-1000)
    decoded = np.asarray(dali_cr.read_volume(scaled)[0].T)
    for dtype in ("<f4", ">f8"):
        path = write_nifti(tmp_path / "decoded.nii", decoded, dtype=dtype)
        assert hash_of(path) == hash_of(scaled)


def test_zeros_and_nans_are_one_each(tmp_path: Path, numbers: np.ndarray) -> None:
    values = numbers.astype("<f4")
    values[0, 0, 0], values[1, 1, 1] = 0.0, np.nan
    other = values.copy()
    other[0, 0, 0] = -0.0
    other.view("<u4")[1, 1, 1] = 0xFFC00001  # a negative NaN with another payload
    assert hash_of(write_nifti(tmp_path / "a.nii", values, dtype="<f4")) == hash_of(
        write_nifti(tmp_path / "b.nii", other, dtype="<f4")
    )


def test_another_image_has_another_hash(tmp_path: Path, numbers: np.ndarray) -> None:
    one_voxel = numbers.copy()
    one_voxel[3, 2, 1] += 1
    others = [numbers, one_voxel, numbers[::-1], numbers.reshape(6, 7, 5), numbers.reshape(5, 6, 7), numbers[:-1]]
    hashes = {hash_of(write_nifti(tmp_path / f"{i}.nii", other)) for i, other in enumerate(others)}
    assert len(hashes) == len(others)


def test_each_frame_has_its_own(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 200, (*SHAPE, 3))
    frames[..., 2] = frames[..., 0]
    write_nifti(tmp_path / "frames.nii", frames)
    first, second, third = (volume.content_sha256 for volume in read_volumes(tmp_path, "frames.nii"))
    assert first == third != second
    assert first == hash_of(write_nifti(tmp_path / "v.nii", frames[..., 0]))


def test_an_image_and_a_volume_of_one_slice(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "v.png")
    volume = write_nifti(tmp_path / "v.nii", pixels.T[:, :, None], dtype="<f4")
    assert hash_of(tmp_path / "v.png") == hash_of(volume)


def test_it_does_not_depend_on_how_much_is_hashed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "v.nii", random_numbers(np.random.default_rng(0), SHAPE, "float32"), dtype="<f4")
    wanted = hash_of(path)
    monkeypatch.setattr(content, "_VOXELS_AT_ONCE", 100)
    assert hash_of(path) == wanted
