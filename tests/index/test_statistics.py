"""Test statistics of volumes against NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.values import measure
from dali_cr.index.values.cells import cell_edge
from dali_cr.index.values.frames import read_volumes
from dali_cr.volume.geometry import DTYPES
from tests.helpers.volumes import random_numbers, write_nifti


def body(dtype: str, background: float = 0) -> np.ndarray:
    """Return numbers of which a quarter have the same value."""
    rng = np.random.default_rng(1)
    numbers = random_numbers(rng, (21, 20, 19), dtype)
    numbers[rng.random(numbers.shape) < 0.25] = background
    return numbers


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("slope", [1.0, -0.5])
@pytest.mark.parametrize("way", ["counted", "sorted"])
def test_against_numpy(
    tmp_path: Path, dtype: str, order: str, slope: float, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_FEW_VOXELS", 0 if way == "counted" else 1 << 20)
    numbers = body(dtype, 7)
    write_nifti(tmp_path / "v.nii", numbers, dtype=order + np.dtype(dtype).str[1:], slope=slope, intercept=3)
    got = read_volumes(tmp_path, "v.nii")[0].statistics
    slope32 = np.float64(np.float32(slope))
    values = numbers.astype(np.float64) * slope32 + 3
    foreground = values[numbers != 7]
    assert got.background == 7 * slope32 + 3
    assert (got.foreground, got.nonfinite) == (foreground.size, 0)
    assert got.distinct == np.unique(numbers).size
    expected = [
        values.min(),
        values.max(),
        foreground.mean(),
        foreground.std(),
        *np.percentile(foreground, [0.5, 99.5]),
    ]
    np.testing.assert_allclose(
        [got.minimum, got.maximum, got.mean, got.deviation, got.low, got.high], expected, rtol=1e-9
    )


def test_no_background_where_no_value_is_frequent(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(8000).reshape(20, 20, 20)
    write_nifti(tmp_path / "v.nii", numbers)
    got = read_volumes(tmp_path, "v.nii")[0]
    assert got.statistics.background is None
    assert got.statistics.foreground == 8000
    np.testing.assert_allclose(got.statistics.mean, numbers.mean())
    assert (got.foreground == 255).all()


def test_nonfinite_voxels_are_counted_and_excluded(tmp_path: Path) -> None:
    numbers = body("float32")
    numbers[:3] = np.nan
    numbers[3, 0, 0] = np.inf
    write_nifti(tmp_path / "v.nii", numbers, dtype="<f4")
    got = read_volumes(tmp_path, "v.nii")[0].statistics
    foreground = numbers[np.isfinite(numbers) & (numbers != 0)].astype(np.float64)
    assert got.nonfinite == 3 * 20 * 19 + 1
    np.testing.assert_allclose([got.mean, got.deviation], [foreground.mean(), foreground.std()], rtol=1e-9)


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "no finite voxel"), (5.0, "constant: every finite voxel is 5")])
def test_refuses_volumes_without_finite_voxels(tmp_path: Path, value: float, reason: str) -> None:
    write_nifti(tmp_path / "v.nii", np.full((4, 4, 4), value), dtype="<f4")
    with pytest.raises(dali_cr.VolumeError, match=reason):
        read_volumes(tmp_path, "v.nii")


@pytest.mark.parametrize("orientation", ["RAS", "PIL", "SLA"])
def test_coarse_map_is_canonical(tmp_path: Path, orientation: str) -> None:
    numbers = np.zeros((40, 37, 5), np.int16)
    numbers[33:40, 2:9, 1] = 9
    write_nifti(tmp_path / "v.nii", numbers, orientation=orientation)
    got = read_volumes(tmp_path, "v.nii")[0].foreground
    mask = numbers.transpose(2, 1, 0) != 0
    edges = [cell_edge(n) for n in mask.shape]
    expected = np.zeros(got.shape)
    for place in np.argwhere(mask):
        expected[tuple(place // edges)] += 1
    np.testing.assert_array_equal(got, np.ceil(255 * expected / np.prod(edges)))
    assert got.shape == (5, 13, 14)


@pytest.mark.parametrize(
    ("numbers", "dtype", "classes"),
    [
        (np.arange(8000) // 4000, "|u1", True),
        (np.arange(8000) // 4000 / 3, "<f4", True),
        (np.arange(8000) // 200 / 3, "<f4", False),
        (np.arange(8000) // 200 * 0.999975, "<f4", True),
        (np.arange(8000) // 4000 + np.random.default_rng(0).normal(0, 1e-4, 8000), "<f4", True),
        (np.arange(8000) // 4000 + np.random.default_rng(0).normal(0, 1e-2, 8000), "<f4", False),
        (np.random.default_rng(0).uniform(0, 9e-4, 8000), "<f4", False),
        (np.arange(8000) // 40, ">f8", True),
        (np.arange(8000) // 40, "<i2", True),
        (np.arange(8000) // 20, "<i2", False),  # 400 of them
        (np.random.default_rng(0).permutation(8000) % 200, "|u1", False),
        (np.random.default_rng(0).permutation(8000) % 20, "|u1", True),
    ],
    ids=[
        "halves",
        "thirds",
        "many thirds",
        "nearly whole",
        "noise on labels",
        "noise",
        "diffusion in mm²/s",
        "floats",
        "patches",
        "too many",
        "noise of 8 bits",
        "few",
    ],
)
def test_classes(tmp_path: Path, numbers: np.ndarray, dtype: str, classes: bool) -> None:
    write_nifti(tmp_path / "v.nii", numbers.reshape((20, 20, 20), order="F"), dtype=dtype)
    assert read_volumes(tmp_path, "v.nii")[0].statistics.classes is classes


def test_refuses_values_without_finite_statistics(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(0, 1e200, (6, 5, 4))
    write_nifti(tmp_path / "v.nii", numbers, dtype="<f8")
    with pytest.raises(dali_cr.VolumeError, match="too large for a mean and standard deviation"):
        read_volumes(tmp_path, "v.nii")


def crop_and_measure(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation in the smallest box around the non-zero values, as in nnssl."""
    hits = np.argwhere((values != 0) & np.isfinite(values))
    box = values[tuple(slice(low, high + 1) for low, high in zip(hits.min(0), hits.max(0), strict=True))]
    return box[np.isfinite(box)].mean(), box[np.isfinite(box)].std()


BOXES = {
    "zero around": (0, 1.0, 0.0),
    "another background": (7, 1.0, 0.0),
    "zero is not 0 in the file": (3, 2.0, -6.0),
    "falling": (4, -0.5, 2.0),
    "nothing is 0": (0, 1.0, -1000.5),
}
"""The most frequent raw number, slope and intercept."""


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
@pytest.mark.parametrize(("background", "slope", "intercept"), BOXES.values(), ids=BOXES)
def test_image_statistics_against_numpy(
    tmp_path: Path, dtype: str, background: float, slope: float, intercept: float
) -> None:
    rng = np.random.default_rng(4)
    numbers = np.full((21, 20, 19), background, dtype)
    numbers[3:17, 5:14, 2:9] = rng.integers(0, 12, (14, 9, 7))
    if np.dtype(dtype).kind == "f":
        numbers[10, 10, :4], numbers[0, 0, 0] = np.nan, np.inf
    write_nifti(tmp_path / "v.nii", numbers, dtype=np.dtype(dtype).str, slope=slope, intercept=intercept)
    got = read_volumes(tmp_path, "v.nii")[0].statistics
    values = dali_cr.read_volume(tmp_path / "v.nii")[0].astype(np.float64)
    np.testing.assert_allclose([got.image_mean, got.image_deviation], crop_and_measure(values), rtol=1e-6)


def test_a_scan_completes_an_index_of_an_earlier_version(tmp_path: Path) -> None:
    write_nifti(tmp_path / "v.nii", body("int16"))
    index = dali_cr.scan(tmp_path, progress=False)
    (case,) = index.cases
    (volume,) = case.volumes
    older = replace(volume, statistics=replace(volume.statistics, image_mean=None, image_deviation=None))
    old = replace(index, cases=(replace(case, volumes=(older,)),))
    recipe = dali_cr.Restoration((8, 8, 8), dali_cr.Swap(2, 2), normalize="zscore-image")
    with pytest.raises(ValueError, match=r"v\.nii: expected the mean of its whole image .* scan the data again"):
        dali_cr.Loader(old, recipe, batch_size=1, device="cpu")
    new = dali_cr.scan(tmp_path, known=old, progress=False)
    assert new.cases[0].volumes[0].statistics == volume.statistics
    dali_cr.Loader(new, recipe, batch_size=1, device="cpu").close()
    new.save(tmp_path / "index.json")
    assert dali_cr.Index.load(tmp_path / "index.json").cases[0].volumes[0].statistics == volume.statistics
