"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files, read by SimpleITK."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.extras import load_format
from dali_cr.tools.importers.axes import LPS_TO_RAS, canonical
from dali_cr.tools.importers.formats import SUFFIXES
from dali_cr.tools.importers.item import Item, hash_files, item_of_files
from dali_cr.volume.geometry import DTYPES, VolumeError
from dali_cr.volume.packed.contents import StoreContents
from dali_cr.volume.reader import read_head

_META, _NRRD = SUFFIXES["mha"], SUFFIXES["nrrd"]
_ELSEWHERE = {
    _META: re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE),
    _NRRD: re.compile(rb"^data ?file:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE),
}
"""The line of a header that names the file of the voxels."""

_RESCALE = re.compile(rb"^[ \t]*ElementToIntensityFunction(Slope|Offset)[ \t]*=[ \t]*(\S+)", re.MULTILINE)


def find_itk(top: Path, path: str) -> tuple[Item, list[str]]:
    """Return the item of a header, and the files it claims: its own and that of its voxels.

    Parameters
    ----------
    top : Path
    path : str
        Relative to `top`.

    Raises
    ------
    VolumeError
        If a file is missing, lies outside `top`, or the voxels lie in several files.
    """
    files = [path, *_voxel_file(top, path)]
    return item_of_files(top, files, read_itk), files


def _voxel_file(top: Path, path: str) -> list[str]:
    """Return the file of the voxels, relative to `top`; none where they follow the header."""
    header = read_head(top / path)
    if path.lower().endswith(_NRRD):
        header, pattern = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0], _ELSEWHERE[_NRRD]
    else:
        pattern = _ELSEWHERE[_META]
        found = pattern.search(header)
        header = header[: found.end()] if found else header  # voxels follow
        _refuse_rescale(path, header)
    named = pattern.search(header)
    name = named[1].decode("utf-8", "surrogateescape") if named else "LOCAL"
    if name.upper() == "LOCAL":
        return []
    if re.match(r"LIST\b", name) or re.search(r"%\d*d", name):
        raise VolumeError(path, f"its voxels lie in several files ({name}): write them as one .mha or .nrrd file")
    place = Path(top, PurePosixPath(path).parent, name).resolve()
    if not place.is_relative_to(top.resolve()):
        raise VolumeError(path, f"its voxels lie outside the imported folder: {name}; move the file beside its header")
    return [(PurePosixPath(path).parent / name).as_posix()]


def _refuse_rescale(path: str, header: bytes) -> None:
    """Raise VolumeError where MetaImage asks for a rescaling that ITK does not apply."""
    neutral = {b"Slope": (b"1", b"1.0"), b"Offset": (b"0", b"0.0")}
    if any(value not in neutral[name] for name, value in _RESCALE.findall(header)):
        raise VolumeError(path, "ElementToIntensityFunctionSlope or Offset: not applied by ITK; rescale the voxels")


def read_itk(top: Path, item: Item) -> StoreContents:
    """Read a MetaImage or NRRD file.

    A pixel of several components, and a fourth axis, become channels.

    Parameters
    ----------
    top : Path
    item : Item

    Raises
    ------
    VolumeError
        If SimpleITK cannot read it, or its voxels are no real numbers in 2, 3 or 4 axes.
    """
    sitk = load_format("SimpleITK")
    path = top / item.source
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise VolumeError(path, f"SimpleITK cannot read it: {_reason(error)}") from error
    # A copy: a view does not keep the image's memory.
    voxels = _channels(path, sitk.GetArrayFromImage(image), image)
    turned, affine, orientation = canonical(path, voxels, LPS_TO_RAS @ _affine(image))
    digest = hash_files([top / file for file in [item.source, *_voxel_file(top, item.source)]])
    original = item.original(digest)
    return StoreContents(voxels=turned, affine=affine, original=original, orientation=orientation)


def _channels(path: Path, array: npt.NDArray[Any], image: Any) -> npt.NDArray[Any]:
    """Return the voxels as (C, K, J, I)."""
    if str(array.dtype) not in DTYPES:
        raise VolumeError(path, f"voxels of {image.GetPixelIDTypeAsString()}: expected real integers or floats")
    axes = image.GetDimension()
    if not 2 <= axes <= 4 or (axes == 4 and image.GetNumberOfComponentsPerPixel() > 1):
        raise VolumeError(path, f"{axes} axes of {image.GetNumberOfComponentsPerPixel()} components: expected 2 to 4")
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif axes < 4:
        array = array[None]
    return array[:, None] if axes == 2 else array


def _affine(image: Any) -> npt.NDArray[np.float64]:
    """Return the affine from (i, j, k) to ITK's world (LPS); of two axes, the third is 1 mm."""
    axes = image.GetDimension()
    spatial = min(axes, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (axes, axes))[:spatial, :spatial]
    affine[:spatial, :spatial] = direction * np.array(image.GetSpacing()[:spatial])
    affine[:spatial, 3] = image.GetOrigin()[:spatial]
    return affine


def _reason(error: RuntimeError) -> str:
    """Return the last line of what ITK says, which names the cause; its own "Reason" is that of an earlier error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return lines[-1].rpartition("): ")[2] if lines else "no reason given"
