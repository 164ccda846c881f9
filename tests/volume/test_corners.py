"""Test the comparison of grids by their corners, for any order of the stored axes."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.read.whole import read_voxels
from dali_cr.volume.corners import TOLERANCE, farthest_corner, match_axes, tolerance_mm
from dali_cr.volume.geometry import Geometry
from dali_cr.volume.nifti import HEADER_BYTES, parse_header
from dali_cr.volume.reader import read_header
from tests.helpers.volumes import STORED_AXES, store_along, write_nifti
from train.data.labels import read_labels

SHAPES = st.tuples(*[st.integers(1, 12)] * 3)
SPACINGS = st.tuples(*[st.floats(0.05, 8.0)] * 3)
QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
ORIGINS = st.tuples(*[st.floats(-400, 400)] * 3)
AXES = st.sampled_from(STORED_AXES)


def affine_of(quaternion, spacing, origin):
    affine = np.eye(4)
    affine[:3, :3] = nib.quaternions.quat2mat(quaternion) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def geometry_of(shape_dhw, affine):
    header = nib.Nifti1Header()
    header.set_data_shape(shape_dhw[::-1])
    header.set_data_dtype(np.uint8)
    header.set_sform(affine, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return parse_header(Path("v.nii"), header.binaryblock + bytes(HEADER_BYTES - 348))[0]


@given(SHAPES, QUATERNIONS, SPACINGS, ORIGINS, AXES, st.integers(0, 2**31))
def test_one_grid_stored_along_any_axes_is_the_same(shape, quaternion, spacing, origin, axes, seed):
    """Check the positions of all voxels after reordering to the other grid's axes."""
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    affine = affine_of(quaternion, spacing, origin)
    other, other_affine = store_along(array, affine, *axes)
    one, two = geometry_of(array.shape[::-1], affine), geometry_of(other.shape[::-1], other_affine)
    aligned = two.aligned(one)
    assert aligned is not None
    assert aligned.shape == one.shape
    known = [n > 1 for n in one.shape[::-1]] + [True]  # an axis of one voxel has no direction
    ours, theirs = (np.array(g.affine)[:, known] for g in (aligned, one))
    np.testing.assert_allclose(ours, theirs, atol=2 * TOLERANCE * min(spacing))
    raw = [np.frombuffer(bytes(352) + a.tobytes(order="F"), np.uint8) for a in (array, other)]
    views = [g.view(r, 0, (0, 0, 0), g.shape) for g, r in zip((one, aligned), raw, strict=True)]
    np.testing.assert_array_equal(*views)


@given(SHAPES, QUATERNIONS, SPACINGS, ORIGINS, QUATERNIONS, st.floats(1.5, 100))
def test_a_shift_beyond_the_tolerance_is_another_grid(shape, quaternion, spacing, origin, direction, times):
    affine = affine_of(quaternion, spacing, origin)
    limit = tolerance_mm(shape, affine)
    unit = nib.quaternions.quat2mat(direction)[:, 0]
    for factor, same in ((0.5, True), (times, False)):
        shifted = affine.copy()
        shifted[:3, 3] += unit * limit * factor
        assert (match_axes(shape, shifted.tolist(), shape, affine.tolist()) is not None) == same
        assert farthest_corner(shape, affine.tolist(), shifted.tolist()) == pytest.approx(limit * factor, rel=1e-6)


@given(SHAPES, QUATERNIONS, SPACINGS, ORIGINS, st.integers(0, 2**31))
def test_rounding_to_float32_and_to_four_decimals_is_no_other_grid(shape, quaternion, spacing, origin, seed):
    affine = affine_of(quaternion, np.maximum(spacing, 0.3), origin)
    noise = np.random.default_rng(seed).uniform(-1e-4, 1e-4, (3, 4))
    for other in (affine.astype(np.float32), affine.round(4), affine + np.vstack([noise, np.zeros(4)])):
        one, two = (geometry_of(shape, a) for a in (affine, other))
        assert one.same_grid(two)
        assert two.same_grid(one)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (np.diag([0.7, 0.7, 0.7065, 1]), False),  # a distance of 3.7 voxels at the last slice
        (np.diag([0.7, 0.7, 0.70001, 1]), True),  # 0.006 voxels
        (np.diag([0.7, 0.7, 0.7002, 1]), False),  # 0.11 voxels
        (np.diag([-0.7, 0.7, 0.7, 1]), False),
    ],
)
def test_a_thicker_slice_counts_by_the_position_of_the_last_one(tmp_path, other, same):
    shape = (6, 6, 400)
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 900, shape).astype("i2"), np.diag([0.7, 0.7, 0.7, 1]))
    (tmp_path / "images").mkdir()
    nib.save(image, tmp_path / "images" / "a.nii.gz")
    label = np.zeros(shape, "u1")
    label[2:4, 2:4, 380:395] = 1
    nib.save(nib.Nifti1Image(label, other), tmp_path / "label.nii.gz")
    case = dali_cr.scan(tmp_path / "images", progress=False).cases[0]
    if same:
        np.testing.assert_array_equal(read_labels(tmp_path / "label.nii.gz", case), label.transpose(2, 1, 0))
    else:
        with pytest.raises(dali_cr.VolumeError, match="label.nii.gz: on another grid: .* mm away"):
            read_labels(tmp_path / "label.nii.gz", case)


def test_the_distance_in_the_message(tmp_path):
    (tmp_path / "images").mkdir()
    numbers = np.random.default_rng(0).integers(0, 900, (5, 6, 400))
    write_nifti(tmp_path / "images" / "a.nii", numbers, spacing=(0.7, 0.7, 0.7))
    write_nifti(tmp_path / "label.nii", numbers > 500, spacing=(0.7, 0.7, 0.7065))
    case = dali_cr.scan(tmp_path / "images", progress=False).cases[0]
    with pytest.raises(dali_cr.VolumeError, match="got them up to 2.59 mm away"):
        read_labels(tmp_path / "label.nii", case)


@pytest.mark.parametrize("degrees", [0, 30, 44, 44.99999, 45, 45.00001, 46, 60, 90, 135, 225, 315])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_label_is_read_along_the_axes_of_its_image(tmp_path, degrees, order):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.array([[c, -s, 0, -10], [s, c, 0, 5], [0, 0, 1, 3], [0, 0, 0, 1.0]])
    label = np.random.default_rng(0).integers(0, 3, (9, 8, 7)).astype("u1")
    image = np.random.default_rng(1).integers(0, 900, label.shape).astype("i2")
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "images" / "a.nii.gz")
    nib.save(nib.Nifti1Image(*store_along(label, affine, order, (True, False, True))), tmp_path / "a.nii.gz")
    case = dali_cr.scan(tmp_path / "images", progress=False).cases[0]
    got = read_labels(tmp_path / "a.nii.gz", case)
    # The label must equal one stored like the image: pairs of image and label values do not change.
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(got, read_labels(tmp_path / "b.nii.gz", case))
    voxels = read_voxels(*read_header(tmp_path / "images" / "a.nii.gz"))[0]
    pairs = np.stack([voxels.ravel(), got.ravel()], 1)
    wanted = np.stack([image.ravel(), label.ravel()], 1).astype(np.float32)
    assert sorted(map(tuple, pairs.tolist())) == sorted(map(tuple, wanted.tolist()))


def test_a_single_slice_has_no_thickness_to_compare():
    def slice_of(thickness: float) -> Geometry:
        return geometry_of((1, 30, 40), np.diag([0.5, 0.5, thickness, 1.0]))

    assert slice_of(5.0).same_grid(slice_of(1.0))
    assert slice_of(1e-6).same_grid(slice_of(5.0))
    moved = np.diag([0.5, 0.5, 5.0, 1.0])
    moved[2, 3] = 5.0
    assert not slice_of(5.0).same_grid(geometry_of((1, 30, 40), moved))


def test_corners_that_overflow_are_no_grid_and_no_error():
    huge = (np.eye(4) * 1e300).tolist()
    assert match_axes((3, 4, 5), huge, (3, 4, 5), np.eye(4).tolist()) is None
