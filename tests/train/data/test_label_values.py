"""Label values: as stored, integers up to 1e-3, never from a lossy format."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dali_cr
from dali_cr.volume import reader
from dali_cr.volume.geometry import VolumeError
from tests.helpers.png import write_png
from tests.helpers.volumes import write_nifti
from train.data.label_values import check_depths, read_values
from train.data.labels import find_label_files


@settings(deadline=None)
@given(depth=st.sampled_from([1, 2, 4, 8, 16]), seed=st.integers(0, 2**32 - 1), width=st.integers(1, 19))
def test_a_png_keeps_its_numbers(depth: int, seed: int, width: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    numbers = np.random.default_rng(seed).integers(0, min(2**depth, 256), (5, width))
    path = write_png(tmp_path_factory.mktemp("png") / "a.png", numbers, depth)
    np.testing.assert_array_equal(read_values(path)[0], numbers)
    # Of an image they are spread, as ever.
    spread = numbers * (255 // (2**depth - 1) if depth < 8 else 1)
    np.testing.assert_array_equal(dali_cr.read_volume(path)[0, 0], spread)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_a_jpeg_is_no_label(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, "JPEG")
    with pytest.raises(VolumeError, match="a JPEG cannot hold labels"):
        read_values(path)
    with pytest.raises(VolumeError, match="a JPEG cannot hold labels"):
        find_label_files(tmp_path, ["*"])


LABELS = np.arange(60).reshape(3, 4, 5) % 4


@pytest.mark.parametrize(
    ("factor", "dtype"), [(1.0, "<f8"), (0.9999, "<f4"), (1.0003, ">f4"), (0.9997, "<f8"), (1.0, "|i1")]
)
def test_numbers_within_a_thousandth_are_whole(factor: float, dtype: str, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", LABELS * factor, dtype=dtype)
    np.testing.assert_array_equal(read_values(path), LABELS.transpose(2, 1, 0))


@pytest.mark.parametrize("value", [0.999, 1.001, 200.999, 254.001])
def test_a_thousandth_itself_is_near_enough(value: float, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.array([[[0.0, value]]]), dtype="<f4")
    assert read_values(path).ravel().tolist() == [0, round(value)]


def test_a_scale_factor_is_rounded(tmp_path: Path) -> None:
    scaled = nib.Nifti1Image(LABELS.astype(float), np.eye(4))
    scaled.set_data_dtype("i2")  # nibabel stores a scale factor, as it does for any floats
    nib.save(scaled, tmp_path / "a.nii")
    assert reader.read_header(tmp_path / "a.nii")[0].slope != 1
    np.testing.assert_array_equal(read_values(tmp_path / "a.nii"), LABELS.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (LABELS / 3, {"dtype": "<f4"}, "got 0, 0.333333, 0.666667, 1; save the labels as integers"),
        (LABELS, {"slope": 0.5, "intercept": 1.0}, r"got 1, 1.5, 2, 2.5, scaled by its header \(0.5, offset 1\)"),
        (np.arange(60).reshape(3, 4, 5) / 7, {"dtype": "<f8"}, "1 and 52 more values"),
        (np.where(LABELS == 1, np.nan, LABELS), {"dtype": "<f4"}, "got 0, 2, 3, nan"),
        (LABELS * 0.998, {"dtype": "<f4"}, "got 0, 0.998, 1.996, 2.994"),
        (LABELS * 100, {}, "from 0 to 255, got 0 to 300"),
        (-LABELS, {}, "from 0 to 255, got -3 to 0"),
        (np.stack([LABELS, LABELS], -1), {}, "one label per voxel, got 2 frames"),
    ],
)
def test_what_is_no_label_is_shown(values: np.ndarray, options: dict, says: str, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", values, **options)
    with pytest.raises(VolumeError, match=says):
        read_values(path)


def test_depths_of_one_numbering_go_together(tmp_path: Path) -> None:
    one = write_png(tmp_path / "one.png", np.array([[0, 1]]), 1)
    two = write_png(tmp_path / "two.png", np.array([[0, 3]]), 2)
    eight = write_png(tmp_path / "eight.png", np.array([[0, 2]]), 8)
    void = write_png(tmp_path / "void.png", np.array([[2, 255]]), 8)
    spread = write_png(tmp_path / "spread.png", np.array([[0, 255]]), 8)
    check_depths({one: [0, 1], two: [0, 3], eight: [0, 2]})
    check_depths({one: [0, 1], void: [2, 255], spread: [0, 255]})
    check_depths({one: [0], spread: [0, 255]})
    check_depths({spread: [0, 255]})
    with pytest.raises(ValueError, match=r"one.png with fewer than 8 bits has at most 1 where spread.png has 255"):
        check_depths({one: [0, 1], spread: [0, 255]})
