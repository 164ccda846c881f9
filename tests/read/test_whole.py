"""Test `read_volume` against nibabel, with nibabel's own files and generated ones."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dali_cr
from dali_cr.volume.geometry import DTYPES
from tests.helpers import volumes

REAL = [*volumes.nifti_files(volumes.NIBABEL), *volumes.some_nifti_files(volumes.DATA)]
REFUSED = {
    "analyze.hdr", "nifti1.hdr", "nifti2.hdr", "complex64.nii", "complex128.nii", "rgb_3D.nii", "rgb_4D.nii",
    "empty.nii.gz", "not-nifti.nii", "fuzz_crash-1.nii.nii", "fuzz_crash-98aa0543.nii", "fuzz_crash-ed7d4634.nii",
    "row_major.dconn.nii",
}  # fmt: skip
"""Refused files: Analyze 7.5, headers without voxels, complex, RGB, six axes (CIFTI), and other formats."""

TINY = np.finfo(np.float32).tiny


def assert_equal(ours: np.ndarray, values: np.ndarray) -> None:
    """Check that voxels equal float64 values rounded to float32, NaN included; subnormals are zero."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    rounded[np.abs(rounded) < TINY] = 0
    np.testing.assert_array_equal(ours, rounded, strict=True)


def test_nibabels_files_are_here() -> None:
    assert len(volumes.nifti_files(volumes.NIBABEL)) > 5


@pytest.mark.parametrize("path", [p for p in REAL if p.name not in REFUSED], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_equals_nibabel(path: Path) -> None:
    assert_equal(dali_cr.read_volume(path), volumes.expected(path))


@pytest.mark.parametrize("path", [p for p in REAL if p.name in REFUSED], ids=lambda p: f"{p.parent.name}/{p.name}")
def test_refuses_by_name(path: Path) -> None:
    with pytest.raises(dali_cr.VolumeError, match=path.name):
        dali_cr.read_volume(path)


SCALINGS = [(None, 0.0), (0.1, -3.5), (-2.0, 7.0)]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scaling", SCALINGS, ids=["plain", "scaled", "negative"])
def test_every_dtype_order_and_orientation(
    tmp_path: Path, dtype: str, order: str, scaling: tuple[float | None, float]
) -> None:
    """Each dtype has every orientation, in one of the byte orders and scalings."""
    rng = np.random.default_rng(DTYPES.index(dtype))
    stored = order + np.dtype(dtype).str[1:]
    numbers = volumes.random_numbers(rng, (5, 4, 3), stored)
    first = (DTYPES.index(dtype) + 2 * SCALINGS.index(scaling) + "<>".index(order)) % 6
    for orientation in volumes.ORIENTATIONS[first::6]:
        path = volumes.write_nifti(
            tmp_path / "v.nii", numbers, orientation=orientation, dtype=stored, slope=scaling[0], intercept=scaling[1]
        )
        assert nib.aff2axcodes(nib.load(path).affine) == tuple(orientation)
        assert_equal(dali_cr.read_volume(path), volumes.expected(path))


def test_all_orientations_are_the_same_volume(tmp_path: Path) -> None:
    numbers = np.arange(5 * 4 * 3).reshape(5, 4, 3)
    for orientation in volumes.ORIENTATIONS:
        path = volumes.write_nifti(tmp_path / "v.nii.gz", numbers, orientation=orientation)
        np.testing.assert_array_equal(dali_cr.read_volume(path)[0], numbers.transpose(2, 1, 0))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 5, 4, 3), (6, 5, 4, 1, 3), (6, 5, 1, 1), (1, 1, 1, 2)])
def test_any_number_of_axes(tmp_path: Path, shape: tuple[int, ...], kind: type[nib.Nifti1Image]) -> None:
    numbers = np.random.default_rng(0).integers(0, 99, shape).astype(np.int16)
    path = tmp_path / "v.nii.gz"
    nib.save(kind(numbers, np.eye(4)), path)
    ours = dali_cr.read_volume(path)
    x, y, z = (*shape, 1, 1)[:3]
    assert ours.shape == (int(np.prod(shape[3:])), z, y, x)
    assert_equal(ours, volumes.expected(path))


def test_multi_member_gzip_and_trailing_zeros(tmp_path: Path) -> None:
    import gzip

    numbers = np.random.default_rng(0).integers(0, 99, (9, 8, 7))
    whole = volumes.write_nifti(tmp_path / "whole.nii", numbers).read_bytes()
    pieces = [whole[:100], whole[100:500], whole[500:]]
    (tmp_path / "members.nii.gz").write_bytes(b"".join(map(gzip.compress, pieces)) + bytes(64))
    assert_equal(dali_cr.read_volume(tmp_path / "members.nii.gz"), volumes.expected(tmp_path / "whole.nii"))


@pytest.mark.parametrize("slope", [np.nan, np.inf, 0.0], ids=str)
def test_no_scaling_where_the_slope_is_no_slope(tmp_path: Path, slope: float) -> None:
    path = volumes.write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, 5], "<f4").tobytes()
    path.write_bytes(content)
    assert_equal(dali_cr.read_volume(path), volumes.expected(path))


def test_nan_and_inf_are_kept_and_subnormals_are_zero(tmp_path: Path) -> None:
    numbers = np.array([np.nan, np.inf, -np.inf, 1e-40, -0.0, 1e-38, 2.5, -1e-44], np.float32).reshape(2, 2, 2)
    path = volumes.write_nifti(tmp_path / "v.nii", numbers, dtype="<f4")
    assert_equal(dali_cr.read_volume(path), volumes.expected(path))
