"""Test the rescaling of every normalisation, and errors for volumes that cannot be normalised."""

from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.ops.decode import decode_channel
from dali_cr.read.normalize import check_range, rescale_of
from tests.helpers.volumes import write_nifti


def normalised(index: dali_cr.Index, normalize: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the values, and the raw numbers after rescaling."""
    volume = index.cases[0].volumes[0]
    values = dali_cr.read_volume(index.root / volume.path).astype(np.float64)
    raw = (values - volume.geometry.intercept) / volume.geometry.slope
    out = np.empty(raw.shape, np.float32)
    for channel, decoded in zip(raw, out, strict=True):
        decode_channel(channel, rescale_of(volume, normalize), decoded)  # type: ignore[arg-type]
    return values, out


@pytest.fixture
def index(tmp_path: Path) -> dali_cr.Index:
    numbers = np.random.default_rng(0).normal(500, 100, (20, 20, 20)).astype(int)
    numbers[:8] = 0
    write_nifti(tmp_path / "v.nii", numbers, slope=2.0, intercept=-10.0)
    return dali_cr.scan(tmp_path, progress=False)


def test_zscore(index: dali_cr.Index) -> None:
    values, out = normalised(index, "zscore")
    inner = values != -10
    assert abs(out[inner].mean()) < 1e-5
    assert abs(out[inner].std() - 1) < 1e-5
    assert out.min() >= -5
    assert out.max() <= 5
    assert (out[~inner] < -3).all()


def test_zscore_of_the_image(tmp_path: Path) -> None:
    """Test nnssl's z-score: over the box around non-zero voxels, including its zeros, without clipping."""
    numbers = np.zeros((20, 20, 20), np.int16)
    numbers[4:15, 3:16, 2:19] = np.random.default_rng(0).integers(0, 100, (11, 13, 17))
    numbers[8, 8, 8] = 9000
    write_nifti(tmp_path / "v.nii", numbers)
    values, out = normalised(dali_cr.scan(tmp_path, progress=False), "zscore-image")
    box = values[0, 2:19, 3:16, 4:15]
    np.testing.assert_allclose(out, (values - box.mean()) / box.std(), atol=1e-4)
    assert out.max() > 30


def test_percentile(index: dali_cr.Index) -> None:
    values, out = normalised(index, "percentile")
    low, high = np.percentile(values[values != -10], [0.5, 99.5])
    np.testing.assert_allclose(out, np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


def test_window_and_none(index: dali_cr.Index) -> None:
    values, out = normalised(index, ("window", 0.0, 1200.0))
    np.testing.assert_allclose(out, np.clip(values / 1200, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(*normalised(index, None))


@pytest.mark.parametrize(
    ("normalize", "padding"), [("zscore", 0), ("percentile", 0), (("window", -5, 5), 0), (None, -10)]
)
def test_padding(index: dali_cr.Index, normalize: object, padding: float) -> None:
    assert rescale_of(index.cases[0].volumes[0], normalize).padding == padding  # type: ignore[arg-type]


def test_refuses_a_constant_foreground(tmp_path: Path) -> None:
    numbers = np.zeros((8, 8, 8))
    numbers[:2] = 1
    write_nifti(tmp_path / "flat.nii", numbers)
    index = dali_cr.scan(tmp_path, progress=False)
    for normalize in ("zscore", "percentile"):
        recipe = dali_cr.Restoration(crop=(4, 4, 4), swap=dali_cr.Swap(patch=2), normalize=normalize)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"flat\.nii: its foreground is constant"):
            check_range(index, recipe)


def test_refuses_values_that_the_dtype_cannot_hold(tmp_path: Path) -> None:
    write_nifti(tmp_path / "big.nii", np.arange(512).reshape(8, 8, 8), slope=200.0)
    index = dali_cr.scan(tmp_path, progress=False)
    plain = dali_cr.Restoration(crop=(4, 4, 4), swap=dali_cr.Swap(patch=2), normalize=None)
    check_range(index, plain)
    narrow = dali_cr.Restoration(crop=(4, 4, 4), swap=dali_cr.Swap(patch=2), normalize=None, dtype="float16")
    with pytest.raises(ValueError, match=r"float16's 65504, got 102200 in big\.nii"):
        check_range(index, narrow)
