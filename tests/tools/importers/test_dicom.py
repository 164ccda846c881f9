"""Test imports of DICOM series: order, positions and values as in SimpleITK; errors for files that are not volumes."""

from __future__ import annotations

import locale
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dali_cr.tools.importers.dicom.headers import Header, read_header
from dali_cr.tools.importers.discover import Request, discover
from dali_cr.tools.importers.item import Findings
from dali_cr.volume.geometry import VolumeError
from dali_cr.volume.packed.contents import StoreContents
from tests.helpers.dicom import AXIAL, OBLIQUE, positions, write_enhanced, write_series
from tests.helpers.itk import assert_same, read_dicom

PYDICOM = Path(pydicom.__path__[0], "data", "test_files")
RNG = np.random.default_rng(0)


def ramp(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    """Return voxels that are all different."""
    return RNG.permutation(np.prod(shape)).reshape(shape).astype(dtype)


def find(folder: Path) -> Findings:
    """Return the items, problems and remarks of a folder."""

    def read(paths: Sequence[str]) -> Iterator[tuple[str, Header | VolumeError]]:
        for path in paths:
            try:
                yield path, read_header(folder, path)
            except VolumeError as error:
                yield path, error

    return discover(folder, folder / "out", Request(("dicom",)), lambda top: read).findings


def contents(folder: Path) -> list[StoreContents]:
    """Return the volumes of a folder that has no problems."""
    found = find(folder)
    assert not found.problems
    return [item.read(folder, item) for item in found.items]


def reason(folder: Path) -> str:
    """Return the reason why the only series of a folder is refused."""
    found = find(folder)
    assert not found.items
    (problem,) = found.problems
    return problem.reason


def test_series_of_scanners_are_as_simpleitk_reads_them(tmp_path: Path) -> None:
    other = PYDICOM / "dicomdirtests" / "77654033" / "CT2"
    for name in ("17136", "17166", "17196"):
        shutil.copy(other / name, tmp_path / name)
    for folder in (PYDICOM / "dicomdirtests" / "98892001" / "CT5N", tmp_path):
        (found,) = contents(folder)
        assert_same(found, read_dicom(sorted(folder.iterdir())))


@pytest.mark.parametrize("name", ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm"])
def test_a_single_slice_is_as_simpleitk_reads_it(name: str, tmp_path: Path) -> None:
    shutil.copy(PYDICOM / name, tmp_path / name)
    (found,) = contents(tmp_path)
    image = sitk.ReadImage(str(tmp_path / name))
    image.SetSpacing([*image.GetSpacing()[:2], found_thickness(tmp_path / name)])
    assert_same(found, image)


def found_thickness(path: Path) -> float:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return float(header.get("SpacingBetweenSlices") or header.SliceThickness)


@pytest.mark.parametrize(("dtype", "stored"), [("int16", 16), ("uint16", 12), ("uint8", 8), ("int16", 12)])
@pytest.mark.parametrize(("directions", "step"), [(AXIAL, 2.5), (OBLIQUE, -1.25)])
def test_a_series_is_as_simpleitk_reads_it(
    dtype: str, stored: int, directions: tuple[float, ...], step: float, tmp_path: Path
) -> None:
    voxels = RNG.integers(-100 if dtype == "int16" else 0, 120, (4, 5, 6)).astype(dtype)
    more = {"RescaleSlope": "0.5", "RescaleIntercept": "-1024", "BitsStored": stored}
    files = write_series(tmp_path, voxels, positions(4, step, directions), directions=directions, **more)
    (found,) = contents(tmp_path)
    assert found.voxels.dtype == dtype
    assert (found.slope, found.intercept) == (0.5, -1024.0)
    assert_same(found, read_dicom(files))


def test_series_and_studies_of_a_folder_are_separated(tmp_path: Path) -> None:
    first, second, other = ramp((3, 4, 5)), ramp((2, 4, 5)), ramp((4, 4, 5))
    write_series(tmp_path, first, positions(3), series="1.2.3.1")
    write_series(tmp_path, second, positions(2), series="1.2.3.2", first=3, study="1.2.4")
    write_series(tmp_path, other, positions(4), series="1.2.3.3", first=5, PatientID="another")
    found = find(tmp_path)
    assert not found.problems
    shapes = {item.store: item.read(tmp_path, item).voxels.shape for item in found.items}
    assert sorted(shape[1] for shape in shapes.values()) == [2, 3, 4]
    subjects = sorted((Path(store).parent.name, shape[1]) for store, shape in shapes.items())
    assert [subject for subject, _ in subjects].count(subjects[0][0]) in (1, 2)
    by_subject = {depths: None for depths in map(tuple, _depths(subjects))}
    assert set(by_subject) == {(2, 3), (4,)}


def _depths(subjects: list[tuple[str, int]]) -> list[list[int]]:
    return [[depth for name, depth in subjects if name == one] for one in sorted({name for name, _ in subjects})]


def test_a_patient_keeps_its_existing_folder(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((2, 4, 5)), positions(2), series="1.2.3.1")
    (item,) = find(tmp_path).items
    (tmp_path / "out" / "sub-0123").mkdir(parents=True)
    (tmp_path / "out" / "sub-0123" / Path(item.store).name).touch()
    write_series(tmp_path, ramp((2, 4, 5)), positions(2), series="1.2.3.2", first=2)
    assert {Path(item.store).parent.name for item in find(tmp_path).items} == {"sub-0123"}


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    places = [[x, y + n * 0.6, z] for n, (x, y, z) in enumerate(positions(4))]
    write_series(tmp_path, ramp((4, 4, 5)), places)
    assert reason(tmp_path) == "gantry tilt of 13.5 degrees: resample it, for example with dcm2niix (series of 4 files)"


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    for gone in (1, 4, 7):
        folder = tmp_path / str(gone)
        write_series(folder, ramp((8, 4, 5)), [place for n, place in enumerate(positions(9)) if n != gone])
        assert "missing or unevenly spaced slices: 5 mm between IM" in reason(folder)


def test_rounded_positions_are_accepted(tmp_path: Path) -> None:
    places = [[x, y, round(z, 1)] for x, y, z in positions(9, 0.625)]
    files = write_series(tmp_path, ramp((9, 4, 5)), places)
    (found,) = contents(tmp_path)
    assert_same(found, read_dicom(files))


def test_slices_at_one_position_are_refused(tmp_path: Path) -> None:
    places = positions(4)
    write_series(tmp_path, ramp((5, 4, 5)), [*places, places[2]])
    assert reason(tmp_path).startswith("5 slices at 4 positions, such as IM838 and IM676: exclude copies")


def test_orientations_and_sizes_of_one_series_are_separate_volumes(tmp_path: Path) -> None:
    axial = write_series(tmp_path, ramp((3, 4, 5)), positions(3))
    write_series(tmp_path, ramp((2, 4, 5)), positions(2, directions=OBLIQUE), directions=OBLIQUE, first=3)
    write_series(tmp_path, ramp((2, 6, 5)), positions(2), first=5)
    found = find(tmp_path)
    assert not found.problems
    assert [remark.reason for remark in found.remarks] == [
        "7 files of one series contain 3 volumes, by size, orientation or acquisition"
    ]
    names = sorted(Path(item.store).stem for item in found.items)
    assert len({name.partition("-")[0] for name in names}) == 1
    volumes = sorted((item.read(tmp_path, item) for item in found.items), key=lambda one: one.voxels.size)
    assert [one.voxels.size for one in volumes] == [40, 60, 60]
    copied = tmp_path / "axial"
    copied.mkdir()
    for file in axial:
        shutil.copy(file, copied)
    three = next(one for one in volumes if one.voxels.shape[1] == 3)
    assert_same(three, read_dicom(sorted(copied.iterdir())))


def test_echoes_of_one_series_are_separate_volumes(tmp_path: Path) -> None:
    voxels, places = ramp((6, 4, 5)), positions(3)
    each = [{"EchoTime": echo, "AcquisitionNumber": n + 1} for n, echo in enumerate([5, 5, 5, 80, 80, 80])]
    write_series(tmp_path, voxels, [*places, *places], each=each)
    first, second = sorted(contents(tmp_path), key=lambda one: one.voxels.sum())
    expected = sorted((voxels[:3], voxels[3:]), key=np.sum)
    for one, raw in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(one.voxels[0], raw[:, ::-1, ::-1])


def test_different_slopes_of_slices_make_float32(tmp_path: Path) -> None:
    voxels = ramp((3, 4, 5))
    slopes, intercepts = [0.1, 0.3, 1 / 3], [0.0, -1.5, 2.0]
    each = [{"RescaleSlope": f"{s:.10g}", "RescaleIntercept": i} for s, i in zip(slopes, intercepts, strict=True)]
    files = write_series(tmp_path, voxels, positions(3), each=each, Modality="PT")
    (found,) = contents(tmp_path)
    assert (found.voxels.dtype, found.slope, found.intercept) == (np.float32, 1.0, 0.0)
    for n, tags in enumerate(each):
        wanted = voxels[n].astype(np.float64) * float(tags["RescaleSlope"]) + tags["RescaleIntercept"]
        np.testing.assert_array_equal(found.voxels[0, n], wanted.astype(np.float32)[::-1, ::-1])
    values = sitk.GetArrayFromImage(read_dicom(files))[:, ::-1, ::-1]
    np.testing.assert_allclose(found.voxels[0], values, rtol=1e-6)
    assert [remark.reason for remark in find(tmp_path).remarks] == [
        "slices with different slopes: values stored as float32"
    ]


def test_an_enhanced_file_is_as_its_slices(tmp_path: Path) -> None:
    voxels, places = ramp((4, 5, 6)), positions(4)
    write_enhanced(tmp_path / "enhanced" / "a.dcm", voxels[[2, 0, 3, 1]], [places[n] for n in (2, 0, 3, 1)])
    write_series(tmp_path / "slices", voxels, places, RescaleSlope=1, RescaleIntercept=-1024)
    (enhanced,), (slices,) = contents(tmp_path / "enhanced"), contents(tmp_path / "slices")
    np.testing.assert_array_equal(enhanced.voxels, slices.voxels)
    assert (enhanced.affine, enhanced.slope, enhanced.intercept) == (slices.affine, 1.0, -1024.0)
    assert slices.intercept == -1024.0
    image = sitk.ReadImage(str(write_enhanced(tmp_path / "sorted.dcm", voxels, places)))
    np.testing.assert_array_equal(
        slices.voxels[0].astype(float) - 1024, sitk.GetArrayFromImage(image)[:, ::-1, ::-1].astype(float)
    )


def test_frames_with_different_slopes(tmp_path: Path) -> None:
    voxels = ramp((2, 5, 6))
    each = [{"RescaleSlope": 2}, {"RescaleSlope": 4}]
    write_enhanced(tmp_path / "a.dcm", voxels, positions(2), each)
    (found,) = contents(tmp_path)
    np.testing.assert_array_equal(found.voxels[0, 1], (voxels[1] * 4.0 - 1024)[::-1, ::-1])


@pytest.mark.parametrize(("dtype", "stored"), [("uint16", 12), ("uint8", 8)])
def test_monochrome1_is_inverted_as_simpleitk_does(dtype: str, stored: int, tmp_path: Path) -> None:
    voxels = RNG.integers(0, 2**8, (1, 5, 6)).astype(dtype)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": stored, "Modality": "DX"}
    (file,) = write_series(tmp_path, voxels, positions(1), **tags)
    (found,) = contents(tmp_path)
    np.testing.assert_array_equal(found.voxels[0], voxels[:, ::-1, ::-1])
    assert_same(found, sitk.ReadImage(str(file)))
    assert "MONOCHROME1" in find(tmp_path).remarks[0].reason


def test_bits_above_those_stored_are_dropped(tmp_path: Path) -> None:
    voxels = RNG.integers(0, 2**12, (2, 5, 6)).astype("uint16")
    write_series(tmp_path, voxels | 0xA000, positions(2), BitsStored=12)
    (found,) = contents(tmp_path)
    np.testing.assert_array_equal(found.voxels[0], voxels[:, ::-1, ::-1])


def test_compressed_files_hold_the_same_voxels(tmp_path: Path) -> None:
    voxels = {}
    for name in (
        "MR_small",
        "MR_small_RLE",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
        "MR_small_bigendian",
    ):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(PYDICOM / f"{name}.dcm", folder)
        voxels[name] = contents(folder)[0].voxels
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "jpeg.dcm"))
    kept = locale.setlocale(locale.LC_ALL)
    writer.Execute(sitk.ReadImage(str(PYDICOM / "MR_small.dcm")))
    locale.setlocale(locale.LC_ALL, kept)  # GDCM's writer sets the locale to C
    dataset = pydicom.dcmread(tmp_path / "jpeg.dcm")
    assert dataset.file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")
    (tmp_path / "jpeg").mkdir()
    shutil.move(tmp_path / "jpeg.dcm", tmp_path / "jpeg")
    voxels["jpeg"] = contents(tmp_path / "jpeg")[0].voxels
    for name, found in voxels.items():
        np.testing.assert_array_equal(found, voxels["MR_small"], err_msg=name)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES: its pixels may show a name or a date"),
    ({"Modality": "SEG"}, "a segmentation, not an image"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a mosaic: slices as tiles of one image"),
    ({"HighBit": 11}, "BitsStored 16 of 16 with HighBit 11"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1 with modality CT"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "color: PhotometricInterpretation PALETTE COLOR"),
    ({"RescaleSlope": 0}, "RescaleSlope: expected a number other than 0, got 0"),
    ({"NumberOfFrames": 3}, "3 frames without positions"),
    ({"PixelSpacing": [0.5, 0]}, "PixelSpacing: expected two positive numbers in mm"),
]


@pytest.mark.parametrize(
    ("tags", "text"), REFUSED, ids=lambda value: next(iter(value)) if isinstance(value, dict) else ""
)
def test_files_that_are_not_volumes_are_refused(tags: dict[str, Any], text: str, tmp_path: Path) -> None:
    write_series(tmp_path, ramp((2, 4, 5)), positions(2), **tags)
    assert text in reason(tmp_path)


def test_one_refused_file_excludes_its_series_only(tmp_path: Path) -> None:
    each = [{}, {"BurnedInAnnotation": "YES"}, {}]
    write_series(tmp_path, ramp((3, 4, 5)), positions(3), each=each)
    write_series(tmp_path, ramp((2, 4, 5)), positions(2), series="1.2.3.2", first=3)
    found = find(tmp_path)
    assert len(found.items) == 1
    (problem,) = found.problems
    assert problem.reason.endswith("; 3 files of its series not imported")


def test_slices_without_a_position(tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct", ramp((2, 4, 5)), positions(2))
    for file in files:
        without(file, "ImagePositionPatient")
    assert reason(tmp_path / "ct").startswith("no ImagePositionPatient")
    files = write_series(tmp_path / "dx", ramp((2, 4, 5)), positions(2), Modality="DX")
    for file in files:
        without(file, "ImagePositionPatient", "ImageOrientationPatient")
    pair = contents(tmp_path / "dx")
    assert [one.orientation for one in pair] == ["XYZ", "XYZ"]
    assert [one.voxels.shape for one in pair] == [(1, 1, 4, 5)] * 2
    assert pair[0].affine[0][0] == 0.5
    assert pair[0].affine[1][1] == 0.75


def without(file: Path, *names: str) -> None:
    dataset = pydicom.dcmread(file)
    for name in names:
        delattr(dataset, name)
    dataset.save_as(file)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, ramp((3, 4, 5)), positions(3))
    content = files[2].read_bytes()
    files[2].write_bytes(content[:-20])
    (item,) = find(tmp_path).items
    with pytest.raises(VolumeError, match="its pixels cannot be decoded"):
        item.read(tmp_path, item)
    (tmp_path / "scan.dcm").write_bytes(b"not DICOM")
    (tmp_path / "cut.dcm").write_bytes(content[:400])
    problems = {problem.path: problem.reason for problem in find(tmp_path).problems}
    assert problems["scan.dcm"] == "not a DICOM file: DICM is missing at byte 128"
    assert "cut.dcm" in problems


def test_everything_of_pydicoms_own_files_is_a_volume_or_named() -> None:
    found = find(PYDICOM)
    assert len(found.items) > 25
    for item in found.items:
        item.read(PYDICOM, item)
    named = {problem.path for problem in found.problems}
    assert {"rtdose.dcm", "badVR.dcm"} & named
    assert {"no_meta.dcm", "UN_sequence.dcm"} <= named
