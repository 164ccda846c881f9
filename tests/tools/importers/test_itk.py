"""Test imports of MetaImage and NRRD files: values and positions as in SimpleITK, in every layout that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dali_cr.tools.importers.itk import find_itk
from dali_cr.volume.geometry import DTYPES, VolumeError
from dali_cr.volume.packed.contents import StoreContents
from tests.helpers.itk import assert_same

RNG = np.random.default_rng(0)
OBLIQUE = (0.8, -0.36, 0.48, 0.6, 0.48, -0.64, 0.0, 0.8, 0.6)
FLIPPED = (0.0, 0.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def image(dtype: str = "int16", direction: tuple[float, ...] = OBLIQUE) -> sitk.Image:
    found = sitk.GetImageFromArray(RNG.integers(0, 100, (3, 4, 5)).astype(dtype))
    found.SetSpacing((0.5, 0.75, 2.5))
    found.SetOrigin((-30.25, 12.5, 7.0))
    found.SetDirection(direction)
    return found


def read(top: Path, name: str) -> StoreContents:
    item, _ = find_itk(top, name)
    return item.read(top, item)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd", "scan.nrrd", "scan.nhdr"])
@pytest.mark.parametrize("direction", [OBLIQUE, FLIPPED])
def test_values_and_positions(name: str, compressed: bool, direction: tuple[float, ...], tmp_path: Path) -> None:
    sitk.WriteImage(image(direction=direction), str(tmp_path / name), compressed)
    found = read(tmp_path, name)
    assert_same(found, sitk.ReadImage(str(tmp_path / name)), mm=1e-9)
    assert found.original.path == name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd"])
def test_dtypes(name: str, dtype: str, tmp_path: Path) -> None:
    sitk.WriteImage(image(dtype), str(tmp_path / name))
    found = read(tmp_path, name)
    assert found.dtype == dtype
    assert_same(found, sitk.ReadImage(str(tmp_path / name)), mm=1e-9)


def test_big_endian_voxels_beside_their_header(tmp_path: Path) -> None:
    voxels = RNG.integers(-9999, 9999, (3, 4, 5)).astype(">i2")
    (tmp_path / "a.raw").write_bytes(voxels.tobytes())
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementSpacing = 1 2 3\n"
        "ElementByteOrderMSB = True\nElementDataFile = a.raw\n"
    )
    item, files = find_itk(tmp_path, "a.mhd")
    assert files == ["a.mhd", "a.raw"]
    assert item.size == sum((tmp_path / file).stat().st_size for file in files)
    np.testing.assert_array_equal(item.read(tmp_path, item).voxels[0], voxels[:, ::-1, ::-1])


def test_components_and_a_fourth_axis_are_channels(tmp_path: Path) -> None:
    voxels = RNG.normal(size=(3, 4, 5, 2)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=True), str(tmp_path / "vector.nrrd"))
    frames = np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
    sitk.WriteImage(sitk.GetImageFromArray(frames, isVector=False), str(tmp_path / "frames.mha"))
    sitk.WriteImage(sitk.GetImageFromArray(voxels[0, :, :, 0], isVector=False), str(tmp_path / "slice.mha"))
    np.testing.assert_array_equal(read(tmp_path, "vector.nrrd").voxels, frames[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(read(tmp_path, "frames.mha").voxels, frames[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(read(tmp_path, "slice.mha").voxels, frames[:1, :1, ::-1, ::-1])


def test_the_hash_is_of_header_and_voxels(tmp_path: Path) -> None:
    sitk.WriteImage(image(), str(tmp_path / "scan.mhd"))
    before = read(tmp_path, "scan.mhd").original.sha256
    content = bytearray((tmp_path / "scan.raw").read_bytes())
    content[0] ^= 1
    (tmp_path / "scan.raw").write_bytes(content)
    assert read(tmp_path, "scan.mhd").original.sha256 != before


def write_meta(path: Path, *lines: str) -> None:
    path.write_text(
        "\n".join(["ObjectType = Image", "NDims = 3", "DimSize = 1 1 1", "ElementType = MET_UCHAR", *lines])
    )


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["ElementDataFile = LIST", "a.raw"], "its voxels are in several files"),
        (["ElementDataFile = a%03d.raw 1 3 1"], "its voxels are in several files"),
        (["ElementDataFile = ../a.raw"], "voxels are outside of the imported folder: ../a.raw"),
        (["ElementDataFile = /etc/passwd"], "voxels are outside of the imported folder: /etc/passwd"),
        (["ElementDataFile = gone.raw"], "its voxel file gone.raw does not exist: copy or link it next to the header"),
        (["ElementDataFile = link.raw"], "its voxel file link.raw is a link to nowhere.raw, which does not exist"),
        (
            ["ElementToIntensityFunctionSlope = 2", "ElementDataFile = a.raw"],
            "ElementToIntensityFunctionSlope or Offset",
        ),
    ],
)
def test_headers_that_are_refused(lines: list[str], text: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.raw").write_bytes(b"1")
    (tmp_path / "in" / "link.raw").symlink_to("nowhere.raw")
    write_meta(tmp_path / "in" / "a.mhd", *lines)
    with pytest.raises(VolumeError, match=text):
        find_itk(tmp_path / "in", "a.mhd")


def test_voxels_may_be_linked_from_elsewhere(tmp_path: Path) -> None:
    for folder in ("in", "large/deep"):
        (tmp_path / folder).mkdir(parents=True)
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    sitk.WriteImage(image, str(tmp_path / "large" / "scan.mhd"))
    sitk.WriteImage(image, str(tmp_path / "large" / "deep" / "whole.mhd"))
    (tmp_path / "large" / "scan.mhd").rename(tmp_path / "in" / "scan.mhd")
    (tmp_path / "in" / "scan.raw").symlink_to(tmp_path / "large" / "scan.raw")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "large" / "deep")
    one, two = read(tmp_path / "in", "scan.mhd"), read(tmp_path / "in", "linked/whole.mhd")
    np.testing.assert_array_equal(one.voxels, two.voxels)


def test_files_that_simpleitk_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n1234")
    with pytest.raises(VolumeError, match=r"a\.nrrd: SimpleITK cannot read it: .+"):
        read(tmp_path, "a.nrrd")
    sitk.WriteImage(sitk.Image([2] * 5, sitk.sitkUInt8), str(tmp_path / "c.mha"))
    with pytest.raises(VolumeError, match="expected 2 to 4 axes, components included, got 5 of 1 components"):
        read(tmp_path, "c.mha")
