"""Test reordered axes: the index equals that of volumes stored in the new order."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.index.reorder import align, reorder
from tests.helpers.volumes import STORED_AXES, store_along, write_nifti


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    numbers = np.zeros((37, 20, 50), np.int16)
    numbers[5:30, 3:17, 20:49] = np.random.default_rng(0).integers(1, 99, (25, 14, 29))
    write_nifti(folder / "v.nii", numbers)
    return dali_cr.scan(folder, progress=False).cases[0].volumes[0], numbers.transpose(2, 1, 0)


@given(st.sampled_from(STORED_AXES))
def test_geometry_occupied_slices_and_foreground_follow(volume, axes):
    order, flips = axes
    whole, numbers = volume
    turned = reorder(whole, order, flips)
    wanted = np.flip(numbers.transpose(order), np.flatnonzero(flips))
    content = np.frombuffer(bytes(352) + numbers.astype("<i2").tobytes(), np.uint8)
    np.testing.assert_array_equal(turned.geometry.view(content, 0, (0, 0, 0), turned.shape), wanted)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        np.testing.assert_array_equal(turned.occupied[axis], (wanted != 0).any(others))
    assert turned.foreground.shape == tuple(whole.foreground.shape[axis] for axis in order)
    # Cells with foreground keep some, and the total is unchanged.
    edges = [-(-n // 16) for n in turned.shape]
    for axis, edge in enumerate(edges):
        starts = np.arange(0, turned.shape[axis], edge)
        here = np.add.reduceat((wanted != 0).sum(tuple({0, 1, 2} - {axis})), starts)
        cells = turned.foreground.sum(tuple({0, 1, 2} - {axis}), dtype=float)
        assert (cells[here > 0] > 0).all()
    assert turned.foreground.sum(dtype=float) == pytest.approx(whole.foreground.sum(dtype=float), rel=0.02)


@given(st.sampled_from(STORED_AXES))
def test_back_again(volume, axes):
    order, flips = axes
    whole, _ = volume
    turned = reorder(whole, order, flips)
    back = align(turned, whole)
    assert (back.shape, back.geometry.base, back.geometry.strides) == (
        whole.shape, whole.geometry.base, whole.geometry.strides,
    )  # fmt: skip
    np.testing.assert_allclose(back.geometry.affine, whole.geometry.affine, atol=1e-9)
    assert all(np.array_equal(a, b) for a, b in zip(back.occupied, whole.occupied, strict=True))


def test_even_cells_are_flipped_exactly(volume):
    whole, _ = volume
    assert whole.shape == (50, 20, 37)
    flipped = reorder(whole, (0, 1, 2), (False, True, False))  # cells of 2 of 20 voxels
    np.testing.assert_array_equal(flipped.foreground, whole.foreground[:, ::-1])


@pytest.mark.parametrize("degrees", [30, 45, 60])
def test_channels_on_one_grid_stored_along_other_axes(tmp_path, degrees):
    """Check that a position has the same voxel indices in all channels, in samples and in the index."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.array([[c, -s, 0, -10], [s, c, 0, 5], [0, 0, 2, 3], [0, 0, 0, 1.0]])
    numbers = np.random.default_rng(0).integers(1, 900, (18, 17, 9)).astype("i2")
    (tmp_path / "p").mkdir()
    nib.save(nib.Nifti1Image(numbers, affine), tmp_path / "p" / "a.nii")
    nib.save(
        nib.Nifti1Image(*store_along(numbers, affine, (1, 0, 2), (False, True, True))), tmp_path / "p" / "b.nii.gz"
    )
    index = dali_cr.scan(tmp_path, ("{case}/{channel}.nii", "{case}/{channel}.nii.gz"), progress=False)
    assert len(index.cases[0].volumes) == 2
    recipe = dali_cr.Restoration(crop=(9, 18, 18), swap=dali_cr.Swap(0), normalize=None)
    with dali_cr.Loader(index, recipe, batch_size=1, device="cpu") as loader:
        first, second = next(iter(loader))["target"][0].numpy()
    np.testing.assert_array_equal(first, second)
    assert (first > 0).any()
    one, two = index.cases[0].volumes
    np.testing.assert_array_equal(one.foreground > 0, two.foreground > 0)


def test_channels_on_other_grids_are_refused_with_the_distance(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 900, (6, 5, 200))
    write_nifti(tmp_path / "p" / "a.nii", numbers, spacing=(1.0, 1.0, 0.7))
    write_nifti(tmp_path / "p" / "b.nii", numbers, spacing=(1.0, 1.0, 0.705))
    index = dali_cr.scan(tmp_path, "{case}/{channel}.nii", progress=False)
    assert not index.cases
    assert "p/b.nii are up to 0.995 mm away from those of p/a.nii" in index.problems[0].reason
