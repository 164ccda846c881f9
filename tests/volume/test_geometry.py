"""Test headers: impossible values are refused, with the reason, before voxels are read."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dali_cr import VolumeError
from dali_cr.volume.geometry import Geometry
from dali_cr.volume.nifti import HEADER_BYTES, parse_header
from tests.helpers.volumes import ORIENTATIONS, expected, write_nifti

NIFTI2 = nib.Nifti2Image

Header = nib.Nifti1Header


def header_bytes(change: Callable[[Header], None] | None = None) -> bytes:
    header = Header()
    header.set_data_shape((5, 4, 3))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    if change:
        change(header)
    return header.binaryblock + bytes(HEADER_BYTES - 348)


def set_field(name: str, value: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        header[name] = value

    return change


def singular(header: Header) -> None:
    header.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), 1)


def bad_quaternion(header: Header) -> None:
    header["sform_code"], header["qform_code"] = 0, 1
    header["quatern_b"] = header["quatern_c"] = 3.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_field("dim", [0, 5, 4, 3, 1, 1, 1, 1]), "1 to 7 axes, got 0"),
        (set_field("dim", [8, 5, 4, 3, 1, 1, 1, 1]), "1 to 7 axes, got 8"),
        (set_field("dim", [3, 5, -4, 3, 1, 1, 1, 1]), "at least 1"),
        (set_field("dim", [3, 5, 0, 3, 1, 1, 1, 1]), "at least 1"),
        (set_field("dim", [5, 5, 4, 3, 2, 2, 1, 1]), "at most four axes longer than 1"),
        (set_field("dim", [7, *[32767] * 4, 1, 1, 1]), r"at most 2\*\*46 voxels"),
        (set_field("datatype", 32), "complex64"),
        (set_field("datatype", 128), "RGB"),
        (set_field("datatype", 1536), "float128"),
        (set_field("datatype", 1), "1-bit"),
        (set_field("datatype", 77), "expected a known code, got 77"),
        (set_field("datatype", 0), "dtype"),
        (set_field("vox_offset", np.nan), "vox_offset: expected at least"),
        (set_field("vox_offset", -8), "vox_offset: expected at least"),
        (set_field("vox_offset", 100), "vox_offset: expected at least"),
        (set_field("vox_offset", 1e30), "vox_offset: expected at least"),
        (set_field("magic", b"ni1"), "not a .hdr"),
        (set_field("magic", b"xyz"), "not a NIfTI file"),
        (set_field("magic", b""), "Analyze 7.5"),
        (set_field("scl_slope", 1.0), "scaling"),
        (set_field("srow_x", [np.nan] * 4), "expected finite values"),
        (singular, "singular"),
        (bad_quaternion, "affine"),
    ],
)
def test_refuses(change: Callable[[Header], None], reason: str) -> None:
    head = bytearray(header_bytes(change))
    if reason == "scaling":
        head[112:120] = np.array([1.0, np.inf], "<f4").tobytes()
    with pytest.raises(VolumeError, match=f"v.nii: .*{reason}"):
        parse_header(Path("v.nii"), bytes(head))


def test_short_and_foreign_bytes() -> None:
    for head in (b"", b"\0" * 347, b"\x89PNG" + bytes(600), header_bytes()[4:]):
        with pytest.raises(VolumeError):
            parse_header(Path("v.nii"), head)


def test_affine_spacing_and_orientation(tmp_path: Path) -> None:
    numbers = np.arange(60).reshape(5, 4, 3)
    for orientation in ORIENTATIONS:
        path = write_nifti(tmp_path / "v.nii", numbers, orientation=orientation, spacing=(1.0, 2.0, 3.0))
        geometry, _ = parse_header(path, path.read_bytes()[:HEADER_BYTES])
        np.testing.assert_allclose(geometry.affine, nib.as_closest_canonical(nib.load(path)).affine)
        assert (geometry.shape, geometry.spacing, geometry.orientation) == ((3, 4, 5), (3.0, 2.0, 1.0), orientation)


@pytest.mark.parametrize("mm", [4.5e-9, 3.25e-7, 1.5e-6, 0.0123457, 0.488281, 0.9, 123.456789])
def test_spacing_of_whatever_size(tmp_path: Path, mm: float) -> None:
    """Test spacings of a microscope in mm, and in metres: never 0, because views divide by it."""
    path = write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3), spacing=(mm, 2 * mm, 3 * mm))
    geometry, _ = parse_header(path, path.read_bytes()[:HEADER_BYTES])
    np.testing.assert_allclose(geometry.spacing, (3 * mm, 2 * mm, mm), rtol=1e-5)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_box_needs_no_more_than_its_end(tmp_path: Path, orientation: str) -> None:
    """Check that `view` works on the first bytes of a file, and not with one byte less."""
    path = write_nifti(
        tmp_path / "v.nii", np.random.default_rng(0).integers(0, 99, (6, 5, 4, 2)), orientation=orientation
    )
    geometry, _ = parse_header(path, path.read_bytes()[:HEADER_BYTES])
    content = np.frombuffer(path.read_bytes(), np.uint8)
    start, stop = (1, 0, 2), (3, 4, 5)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    for frame in range(2):
        end = geometry.end(frame, start, stop)
        np.testing.assert_array_equal(geometry.view(content[:end], frame, start, stop), expected(path)[frame][window])
        with pytest.raises((ValueError, TypeError), match="buffer|strides"):
            geometry.view(content[: end - 1], frame, start, stop)


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0), (-1, 1), (8, 1), (99, 0), (2, 32767)], ids=str)
@pytest.mark.parametrize("zooms", [(-1.0, 1.0, 2.0, 3.0), (0.0, -1.0, 2.0, 0.0), (5.0, 1.0, 2.0, 3.0)], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_odd_codes_and_zooms_as_in_nibabel(
    tmp_path: Path, codes: tuple[int, int], zooms: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3), orientation="PIL")
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, Header.template_dtype, 1)
    header["sform_code"], header["qform_code"] = codes
    header["pixdim"][0, :4] = zooms
    header["srow_x"][0, 3] = 7
    path.write_bytes(content)
    geometry, _ = parse_header(path, bytes(content[:HEADER_BYTES]))
    assert not caplog.records  # warnings of nibabel are not part of the test
    np.testing.assert_allclose(geometry.affine, nib.as_closest_canonical(nib.load(path)).affine)


def test_an_affine_whose_norms_are_too_large(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3), orientation="LPI", kind=NIFTI2)
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, nib.Nifti2Header.template_dtype, 1)
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row] *= 1e200
    with pytest.raises(VolumeError, match="affine: "):
        parse_header(path, bytes(content[:HEADER_BYTES]))


def test_an_offset_of_0_is_right_after_the_header(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "v.nii", np.arange(60).reshape(5, 4, 3))
    content = bytearray(path.read_bytes())
    assert content[108:112] == np.float32(352).tobytes()
    content[108:112] = bytes(4)
    assert parse_header(path, bytes(content[:HEADER_BYTES]))[0].data_offset == 352


def test_same_grid(tmp_path: Path) -> None:
    def geometry(shape: tuple[int, ...] = (5, 4, 3), **options: object) -> Geometry:
        path = write_nifti(tmp_path / "v.nii", np.zeros(shape), **options)  # type: ignore[arg-type]
        return parse_header(path, path.read_bytes()[:HEADER_BYTES])[0]

    one = geometry()
    assert one.same_grid(geometry(orientation="RAS", dtype=">f8"))
    assert one.same_grid(geometry(spacing=(1.001, 1.0, 1.0)))
    assert not one.same_grid(geometry(spacing=(1.1, 1.0, 1.0)))
    assert not one.same_grid(geometry((5, 4, 4)))


def test_a_pair_whose_other_name_would_be_too_long(tmp_path: Path) -> None:
    head = header_bytes(set_field("magic", b"ni1"))
    with pytest.raises(VolumeError, match="header without voxels"):
        parse_header(tmp_path / f"{'x' * 251}.hdr", head)
