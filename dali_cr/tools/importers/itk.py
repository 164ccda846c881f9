"""Import MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files with SimpleITK."""

from __future__ import annotations

import os
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
"""Patterns of the header line with the name of the voxel file."""

_RESCALE = re.compile(rb"^[ \t]*ElementToIntensityFunction(Slope|Offset)[ \t]*=[ \t]*(\S+)", re.MULTILINE)


def find_itk(top: Path, path: str) -> tuple[Item, list[str]]:
    """Return the item of a header, and its files: the header and the voxel file.

    Parameters
    ----------
    top : Path
    path : str
        Path relative to `top`.

    Raises
    ------
    VolumeError
        If a file is missing or outside of `top`, or the voxels are in several files.
    """
    files = [path, *_voxel_file(top, path)]
    return item_of_files(top, files, read_itk), files


def _voxel_file(top: Path, path: str) -> list[str]:
    """Return the voxel file, relative to `top`; empty if the voxels follow the header."""
    header = read_head(top / path)
    if path.lower().endswith(_NRRD):
        header, pattern = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0], _ELSEWHERE[_NRRD]
    else:
        pattern = _ELSEWHERE[_META]
        found = pattern.search(header)
        header = header[: found.end()] if found else header  # without the voxels after it
        _refuse_rescale(path, header)
    named = pattern.search(header)
    name = named[1].decode("utf-8", "surrogateescape") if named else "LOCAL"
    if name.upper() == "LOCAL":
        return []
    if re.match(r"LIST\b", name) or re.search(r"%\d*d", name):
        raise VolumeError(path, f"its voxels are in several files ({name}): write them as one .mha or .nrrd file")
    # By name alone: the file, or a folder above it, may be a link to another place.
    place = Path(os.path.normpath(Path(top, PurePosixPath(path).parent, name)))
    if not place.is_relative_to(os.path.normpath(top)):
        raise VolumeError(
            path, f"voxels are outside of the imported folder: {name}; move or link them next to the header"
        )
    if place.is_symlink() and not place.exists():
        raise VolumeError(path, f"its voxel file {name} is a link to {place.readlink()}, which does not exist")
    if not place.exists():
        raise VolumeError(path, f"its voxel file {name} does not exist: copy or link it next to the header")
    return [(PurePosixPath(path).parent / name).as_posix()]


def _refuse_rescale(path: str, header: bytes) -> None:
    """Raise VolumeError if a MetaImage header has a rescaling, which ITK does not apply."""
    neutral = {b"Slope": (b"1", b"1.0"), b"Offset": (b"0", b"0.0")}
    if any(value not in neutral[name] for name, value in _RESCALE.findall(header)):
        raise VolumeError(path, "ElementToIntensityFunctionSlope or Offset: not supported by ITK; rescale the voxels")


def read_itk(top: Path, item: Item) -> StoreContents:
    """Read a MetaImage or NRRD file.

    Components of pixels, or a fourth axis, become channels.

    Parameters
    ----------
    top : Path
    item : Item

    Raises
    ------
    VolumeError
        If SimpleITK cannot read it, or its voxels are not real numbers with 2, 3 or 4 axes.
    """
    sitk = load_format("SimpleITK")
    path = top / item.source
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise VolumeError(path, f"SimpleITK cannot read it: {_reason(error)}") from error
    # A copy, because a view does not keep the image alive.
    voxels = _channels(path, sitk.GetArrayFromImage(image), image)
    turned, affine, orientation = canonical(path, voxels, LPS_TO_RAS @ _affine(image))
    digest = hash_files([top / file for file in [item.source, *_voxel_file(top, item.source)]])
    original = item.original(digest)
    return StoreContents(voxels=turned, affine=affine, original=original, orientation=orientation)


def _channels(path: Path, array: npt.NDArray[Any], image: Any) -> npt.NDArray[Any]:
    """Return the voxels as (C, K, J, I)."""
    if str(array.dtype) not in DTYPES:
        raise VolumeError(path, f"voxels: expected integers or floats, got {image.GetPixelIDTypeAsString()}")
    axes, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if not 2 <= axes <= 4 or (axes == 4 and components > 1):
        raise VolumeError(path, f"expected 2 to 4 axes, components included, got {axes} of {components} components")
    if components > 1:
        array = np.moveaxis(array, -1, 0)
    elif axes < 4:
        array = array[None]
    return array[:, None] if axes == 2 else array


def _affine(image: Any) -> npt.NDArray[np.float64]:
    """Return the affine from (i, j, k) to ITK's world (LPS); a missing third axis has 1 mm."""
    axes = image.GetDimension()
    spatial = min(axes, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (axes, axes))[:spatial, :spatial]
    affine[:spatial, :spatial] = direction * np.array(image.GetSpacing()[:spatial])
    affine[:spatial, 3] = image.GetOrigin()[:spatial]
    return affine


def _reason(error: RuntimeError) -> str:
    """Return the last line of an ITK error, which has the cause; its "Reason" may belong to an earlier error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return lines[-1].rpartition("): ")[2] if lines else "no reason given"
