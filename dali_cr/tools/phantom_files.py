"""Write phantoms and their labels as NIfTI volumes with varied storage, or as PNG images."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from dali_cr.system.atomic import write_whole
from dali_cr.tools.phantom import Modality, Point, Triple, make_phantom


@dataclass(frozen=True)
class _Storage:
    """How a file stores its voxels; `tilt` rotates the affine by degrees, as in an oblique scan."""

    axes: str
    dtype: str
    scaled: bool = False
    tilt: float = 0.0


_STORAGES = (
    _Storage("RAS", "<i2"),
    _Storage("LPS", "<u1", scaled=True),
    _Storage("LAS", ">f4"),
    _Storage("PIR", "<u2", scaled=True, tilt=8.0),
    _Storage("RSP", ">i2", scaled=True),
    _Storage("ASL", "<f4", tilt=-12.0),
    _Storage("IPL", ">u2", scaled=True),
    _Storage("LIA", "<i2", tilt=5.0),
)


def write_phantoms(
    folder: str | Path, count: int = 24, shape: Triple = (48, 56, 52), seed: int = 0, modality: Modality = "mr"
) -> list[Path]:
    """Write `count` bodies to `folder/images` and their labels, on the same grids, to `folder/labels`.

    Parameters
    ----------
    folder : path
        Created if missing; files of the same names are overwritten.
    count : int
    shape : (3,) int
        Voxels along canonical (D, H, W); files store their axes in different orders.
    seed : int
    modality : {"mr", "ct"}

    Returns
    -------
    paths : list of Path
        The image files, in order; equal arguments write equal bytes.
    """
    images, labels = _make_folders(Path(folder))
    paths = []
    for number in range(count):
        name = f"phantom_{number:03d}.nii.gz"
        image, organs, spacing = make_phantom(seed, shape, number, modality)
        storage = _STORAGES[number % len(_STORAGES)]
        _write(images / name, image, spacing, storage)
        _write(labels / name, organs, spacing, _Storage(storage.axes, "<u1", tilt=storage.tilt))
        paths.append(images / name)
    return paths


def write_images(
    folder: str | Path, count: int = 24, shape: tuple[int, int] = (270, 400), seed: int = 0, first: int = 0
) -> list[Path]:
    """Write slices through `count` bodies as 8-bit PNG to `folder/images`, and their labels to `folder/labels`.

    Parameters
    ----------
    folder : path
        Created if missing; existing files are overwritten.
    count : int
    shape : (2,) int
        Rows and columns. Anterior is up and the right side of the body is to the right.
    seed : int
    first : int
        Number of the first phantom.

    Returns
    -------
    paths : list of Path
        The image files, in order; equal arguments write equal pixels.
    """
    images, labels = _make_folders(Path(folder))
    paths = []
    for number in range(first, first + count):
        image, organs, _ = make_phantom(seed, (1, *shape), number)
        grey = np.rint(np.clip(image[0], 0, None) * (255 / float(image.max()))).astype(np.uint8)
        paths.append(images / f"phantom_{number:03d}.png")
        _write_png(paths[-1], grey[::-1])
        _write_png(labels / paths[-1].name, organs[0, ::-1])
    return paths


def _write_png(path: Path, grey: npt.NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "png")
    write_whole(path, buffer.getvalue())


def _make_folders(folder: Path) -> tuple[Path, Path]:
    """Create the folders of images and labels."""
    images, labels = folder / "images", folder / "labels"
    for made in (images, labels):
        made.mkdir(parents=True, exist_ok=True)
    return images, labels


def _affine(shape: Triple, spacing: Point, tilt: float) -> npt.NDArray[np.float64]:
    """Return the affine of a RAS+ grid centred on the origin, rotated by `tilt` degrees about the left-right axis."""
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ np.diag(spacing[::-1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return affine


def _encode(
    values: npt.NDArray[np.float32] | npt.NDArray[np.uint8], storage: _Storage
) -> tuple[npt.NDArray[np.generic], float, float]:
    """Return the values as numbers of the stored dtype, with their slope and intercept."""
    dtype = np.dtype(storage.dtype)
    slope, intercept = 1.0, 0.0
    if storage.scaled:
        limits = np.iinfo(dtype)
        # The header stores float32, so the scaling must use the rounded values.
        slope = float(np.float32((float(values.max()) - float(values.min())) / 250 / 2 ** (8 * dtype.itemsize - 8)))
        intercept = float(np.float32(float(values.min()) - limits.min * slope))
    if dtype.kind == "f":
        return values.astype(dtype), slope, intercept
    return np.rint((values - intercept) / slope).astype(dtype), slope, intercept


def _write(
    path: Path, values: npt.NDArray[np.float32] | npt.NDArray[np.uint8], spacing: Point, storage: _Storage
) -> None:
    """Write canonical (D, H, W) `values` as a gzipped NIfTI-1 file with the given storage.

    Only the header comes from nibabel, which would otherwise choose slope and intercept.
    """
    numbers, slope, intercept = _encode(values, storage)
    ras = numbers.transpose(2, 1, 0)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(storage.axes))
    stored = apply_orientation(ras, turn)
    affine = _affine(values.shape, spacing, storage.tilt) @ inv_ornt_aff(turn, ras.shape)
    header = nib.Nifti1Header(endianness=">" if storage.dtype.startswith(">") else "<")
    header.set_data_shape(stored.shape)
    header.set_data_dtype(numbers.dtype)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["vox_offset"], header["magic"] = 352, b"n+1"
    no_extensions = bytes(4)
    content = header.binaryblock + no_extensions + stored.tobytes(order="F")
    write_whole(path, gzip.compress(content, compresslevel=6, mtime=0))
