"""Masks keep the header of their image, except fields about values and storage."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.volume.reader import read_header
from tests.helpers.volumes import ORIENTATIONS, write_nifti
from train.data.masks import write_mask
from train.output.nifti_mask import encode_mask

KEPT = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
        "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim_info", "descrip")  # fmt: skip


def rewrite(path, change, kind=nib.Nifti1Header):
    """Change fields of a file's header without any check."""
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, kind.template_dtype, 1)
    for name, value in change.items():
        header[name] = value
    path.write_bytes(content)
    return path


def mask_of(path, seed=0):
    geometry, _ = read_header(path)
    labels = np.random.default_rng(seed).integers(0, 256, geometry.shape).astype(np.uint8)
    written = path.with_name("mask.nii")
    written.write_bytes(encode_mask(labels, path, geometry))
    return labels, written


@given(
    st.sampled_from(ORIENTATIONS), st.sampled_from([(0, 0), (1, 0), (0, 1), (4, 2), (2, 5)]), st.integers(0, 3),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]), st.tuples(*[st.floats(0.01, 9)] * 3), st.integers(0, 2**31),
)  # fmt: skip
def test_the_grid_is_the_images_to_the_last_bit(tmp_path_factory, orientation, codes, unit, kind, spacing, seed):
    folder = tmp_path_factory.mktemp("mask")
    path = folder / "x.nii"
    write_nifti(path, np.arange(120).reshape(4, 5, 6), orientation=orientation, spacing=spacing, kind=kind)
    change = {"sform_code": codes[0], "qform_code": codes[1], "xyzt_units": unit | 8, "descrip": b"a scan"}
    rewrite(path, change, kind.header_class)
    labels, written = mask_of(path, seed)
    image, mask = nib.load(path), nib.load(written)
    np.testing.assert_array_equal(mask.affine, image.affine)
    for name in KEPT:
        np.testing.assert_array_equal(mask.header[name], image.header[name])
    assert mask.header.get_xyzt_units() == image.header.get_xyzt_units()
    assert (mask.shape, mask.get_data_dtype(), type(mask)) == (image.shape, np.uint8, kind)
    np.testing.assert_array_equal(dali_cr.read_volume(written)[0], labels)


@pytest.mark.parametrize(
    "change",
    [
        {"sform_code": 99, "qform_code": 1},
        {"sform_code": 0, "qform_code": -1},
        {"pixdim": [5, 1, 2, 3, 0, 0, 0, 0], "sform_code": 0},
        {"pixdim": [-1, -1, 2, 3, 0, 0, 0, 0], "sform_code": 0, "qform_code": 0},
        {"scl_slope": 0.5, "scl_inter": -3},
        {"cal_min": -5, "cal_max": 40, "intent_code": 1007, "intent_name": b"vectors", "intent_p1": 3},
        {"vox_offset": 0},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_program_corrects_in_the_image_it_corrects_in_the_mask(tmp_path, change):
    path = rewrite(write_nifti(tmp_path / "x.nii", np.arange(120).reshape(4, 5, 6), orientation="ILP"), change)
    labels, written = mask_of(path)
    mask = nib.load(written)
    np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
    np.testing.assert_array_equal(nib.as_closest_canonical(mask).get_fdata().transpose(2, 1, 0), labels)
    assert mask.header.get_slope_inter() in ((None, None), (1.0, 0.0))
    assert (mask.header["cal_max"], mask.header["intent_code"], mask.header["intent_name"]) == (0, 0, b"")


def test_of_frames_and_of_flat_images(tmp_path):
    for shape, wanted in (((4, 5, 6, 3), (4, 5, 6)), ((4, 5), (4, 5)), ((4, 5, 1, 1, 3), (4, 5, 1)), ((7,), (7,))):
        path = tmp_path / "x.nii"
        nib.save(nib.Nifti1Image(np.arange(np.prod(shape)).reshape(shape).astype("i2"), np.diag([2, 3, 4, 1.0])), path)
        labels, written = mask_of(path)
        mask = nib.load(written)
        assert mask.shape == wanted
        np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
        np.testing.assert_array_equal(dali_cr.read_volume(written)[0], labels)


def test_a_flat_image_without_codes_keeps_its_origin(tmp_path):
    """A 2-D file's affine follows from shape and zooms, so a mask with a third axis would have another position."""
    path = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(np.arange(20).reshape(4, 5).astype("i2"), np.eye(4)), path)
    rewrite(path, {"sform_code": 0, "qform_code": 0, "pixdim": [1, 2, 3, 7, 0, 0, 0, 0]})
    _, written = mask_of(path)
    np.testing.assert_array_equal(nib.load(written).affine, nib.load(path).affine)


def test_the_same_labels_are_the_same_bytes(tmp_path):
    path = write_nifti(tmp_path / "x.nii.gz", np.arange(120).reshape(4, 5, 6))
    assert mask_of(path)[1].read_bytes() == mask_of(path)[1].read_bytes()


def test_an_image_that_changed_since_the_scan_is_refused(tmp_path):
    path = write_nifti(tmp_path / "in" / "x.nii", np.arange(120).reshape(4, 5, 6))
    index = dali_cr.scan(tmp_path / "in", progress=False)
    labels = np.zeros(index.cases[0].shape, np.uint8)
    write_nifti(path, np.arange(120).reshape(4, 5, 6), orientation="LAS")
    with pytest.raises(dali_cr.VolumeError, match="x.nii: changed since the scan"):
        write_mask(labels, index.root, index.cases[0], tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_labels_of_another_shape_are_refused(tmp_path):
    path = write_nifti(tmp_path / "x.nii", np.arange(120).reshape(4, 5, 6))
    with pytest.raises(ValueError, match=r"expected shape \(6, 5, 4\), as .* has, got \(4, 5, 6\)"):
        encode_mask(np.zeros((4, 5, 6), np.uint8), path, read_header(path)[0])


def test_nibabel_has_no_remarks_on_a_mask(tmp_path, caplog):
    path = write_nifti(tmp_path / "x.nii", np.arange(120).reshape(4, 5, 6))
    _, written = mask_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nib.load(written).get_fdata()
    assert not caplog.records
