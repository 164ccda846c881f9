"""Test units of length: converted to mm; values in mm keep their bits."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dali_cr
from dali_cr.index.report import describe
from dali_cr.volume.nifti import HEADER_BYTES, UNITS, parse_header
from tests.helpers.volumes import write_nifti
from train.data.labels import read_labels

NAMES = {0: "unknown", 1: "metre", 2: "mm", 3: "micron"}
MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}


def with_unit(path: Path, code: int) -> Path:
    """Set the unit code of a plain file; its upper bits, the unit of time, mean seconds."""
    content = bytearray(path.read_bytes())
    content[123] = code | 8
    path.write_bytes(content)
    return path


def write(path: Path, code: int, spacing: tuple[float, float, float], numbers: np.ndarray | None = None) -> Path:
    """Write voxels of these sizes in mm along x, y, z, in the unit of a code."""
    numbers = np.random.default_rng(0).integers(0, 900, (20, 16, 12)) if numbers is None else numbers
    x, y, z = (edge / MM[code] for edge in spacing)
    return with_unit(write_nifti(path, numbers, orientation="LPS", spacing=(x, y, z)), code)


@pytest.mark.parametrize("code", MM)
def test_spacing_and_affine_are_in_mm(tmp_path, code):
    path = write(tmp_path / "v.nii", code, (0.4, 0.5, 1.25))
    geometry = dali_cr.scan(tmp_path, progress=False).cases[0].volumes[0].geometry
    assert geometry.spacing == pytest.approx((1.25, 0.5, 0.4), rel=1e-6)
    assert geometry.unit == NAMES[code] in UNITS
    affine = nib.as_closest_canonical(nib.load(path)).affine
    np.testing.assert_allclose(np.array(geometry.affine)[:3], affine[:3] * MM[code], rtol=1e-12)
    assert geometry.affine[3] == (0.0, 0.0, 0.0, 1.0)
    # 0.4 mm become 0.8: half as many voxels along x, for any unit.
    assert dali_cr.read_volume(path, spacing=(1.25, 0.5, 0.8)).shape == (1, 12, 16, 10)


@pytest.mark.parametrize("code", [0, 2, 4, 5, 6, 7])
def test_mm_and_unknown_units_keep_their_bits(tmp_path, code):
    path = write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3), spacing=(0.1, 0.7, 3.3))
    before = parse_header(path, path.read_bytes()[:HEADER_BYTES])[0]
    geometry = parse_header(with_unit(path, code), path.read_bytes()[:HEADER_BYTES])[0]
    assert (geometry.affine, geometry.spacing) == (before.affine, before.spacing)
    assert geometry.unit == ("mm" if code == 2 else "unknown")


@given(
    st.tuples(*[st.floats(1e-6, 20)] * 3), st.sampled_from([1, 3]), st.sampled_from(["sform", "qform", "zooms"]),
    st.booleans(),
)  # fmt: skip
def test_every_kind_of_affine_is_converted(spacing, code, kind, second):
    """Test sform, qform and zooms alone, in NIfTI-1 and -2: nibabel's lengths times the unit."""
    header = (nib.Nifti2Header if second else nib.Nifti1Header)()
    header.set_data_shape((5, 4, 3))
    header.set_data_dtype(np.int16)
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = 7, -8, 9
    header["pixdim"][1:4] = spacing
    if kind != "zooms":
        getattr(header, f"set_{kind}")(affine, 1)
    header["xyzt_units"] = code
    header["magic"] = b"n+2\0\r\n\x1a\n" if second else b"n+1"
    header["vox_offset"] = header.single_vox_offset
    geometry = parse_header(Path("v.nii"), header.binaryblock + bytes(HEADER_BYTES - header.sizeof_hdr))[0]
    assert geometry.spacing == pytest.approx([edge * MM[code] for edge in spacing[::-1]], rel=1e-5)
    norms = np.linalg.norm(np.array(geometry.affine)[:3, :3], axis=0)
    np.testing.assert_allclose(norms[::-1], geometry.spacing, rtol=1e-5)


def test_a_label_may_be_in_another_unit_than_its_image(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 3, (6, 5, 4))
    write(tmp_path / "images" / "a.nii", 3, (0.004, 0.005, 0.01), numbers * 100 + np.arange(4))
    case = dali_cr.scan(tmp_path / "images", progress=False).cases[0]
    for code in (1, 2, 3, 0):
        got = read_labels(write(tmp_path / "label.nii", code, (0.004, 0.005, 0.01), numbers), case)
        np.testing.assert_array_equal(got, numbers.transpose(2, 1, 0))
    wrong = with_unit(write(tmp_path / "label.nii", 3, (0.004, 0.005, 0.01), numbers), 0)
    with pytest.raises(dali_cr.VolumeError, match=r"another grid.*the unit unknown, the image.s has micron"):
        read_labels(wrong, case)


def test_scan_prints_what_was_converted_and_what_is_unknown(tmp_path):
    for number, code in enumerate((0, 0, 1, 2, 3)):
        write(tmp_path / f"{number}.nii", code, (0.4, 0.4, 0.4))
    index = dali_cr.scan(tmp_path, progress=False)
    (units,) = [line for line in describe(index).splitlines() if line.startswith("units")]
    assert "unknown in 2 of 5 headers, taken as mm" in units
    assert "micron in 1 of 5 headers, converted to mm" in units
    assert "metre in 1 of 5 headers, converted to mm" in units
    assert "mm in 1 of 5 headers;" in units
    index.save(tmp_path / "index.json")
    assert [v.geometry for c in dali_cr.Index.load(tmp_path / "index.json").cases for v in c.volumes] == [
        v.geometry for c in index.cases for v in c.volumes
    ]


def test_nothing_is_printed_where_all_is_in_mm_and_a_wrong_unit_is_warned_of(tmp_path):
    write(tmp_path / "a" / "v.nii", 2, (0.4, 0.4, 0.4))
    assert "units" not in describe(dali_cr.scan(tmp_path / "a", progress=False))
    with_unit(write(tmp_path / "b" / "v.nii", 2, (1.0, 1.0, 1.0)), 1)
    table = describe(dali_cr.scan(tmp_path / "b", progress=False))
    assert "1 volume with voxels wider than 100 mm; check the unit in the header (metre): v.nii 1e+03" in table


def test_an_index_of_an_earlier_version_has_no_unit_and_no_percentiles(tmp_path):
    import json

    write(tmp_path / "v.nii", 2, (0.4, 0.4, 0.4))
    dali_cr.scan(tmp_path, progress=False).save(tmp_path / "index.json")
    content = json.loads((tmp_path / "index.json").read_text())
    del content["cases"][0]["volumes"][0]["geometry"]["unit"]
    del content["cases"][0]["volumes"][0]["statistics"]["percentiles"]
    (tmp_path / "index.json").write_text(json.dumps(content))
    index = dali_cr.Index.load(tmp_path / "index.json")
    assert index.cases[0].volumes[0].geometry.unit == "mm"
    assert "foreground" not in describe(index)
    assert "index is of an earlier version; scan again" in describe(index, (0, 100))
    with_unit(write(tmp_path / "c" / "v.nii", 2, (1e-3, 1e-3, 1e-3)), 3)
    table = describe(dali_cr.scan(tmp_path / "c", progress=False))
    assert "1 volume with voxels narrower than 0.0001 mm; check the unit in the header (micron): v.nii 1e-06" in table
