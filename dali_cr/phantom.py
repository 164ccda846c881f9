"""Synthetic bodies as real NIfTI files or PNG images, for demonstrations and tests that must not download anything.

A phantom is a trunk of ellipsoid organs, the same arrangement in every subject and other places, sizes and textures in
each, under a smooth bias field and noise: enough context for a network to tell where a swapped patch came from. The
files differ as real ones do, in axis order, dtype, byte order, slope and intercept; the label volumes tell the organs.

Everything is a function of (seed, number) alone; NumPy's Philox generator is keyed with the two.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

Triple = tuple[int, int, int]
Modality = Literal["mr", "ct"]
_Point = tuple[float, float, float]
_Points = list[npt.NDArray[np.float32]]
"""Body coordinates (z, y, x) of every voxel."""


@dataclass(frozen=True)
class Organ:
    """An ellipsoid in the body's coordinates: -1 to 1 along (z, y, x), towards the head, the front and the right.

    Attributes
    ----------
    centre, radii : (3,) float
    mr : float
        Brightness in a magnetic resonance image, in arbitrary units.
    ct : float
        Density in Hounsfield units.
    texture : float
        Strength of the organ's texture, as a part of its contrast with air.
    """

    name: str
    centre: _Point
    radii: _Point
    mr: float
    ct: float
    texture: float


ORGANS = (
    Organ("body", (0.0, 0.0, 0.0), (3.0, 0.80, 0.92), 320, 30, 0.06),
    Organ("right lung", (0.75, 0.02, 0.44), (0.48, 0.52, 0.34), 90, -820, 0.15),
    Organ("left lung", (0.75, 0.02, -0.44), (0.48, 0.52, 0.34), 90, -820, 0.15),
    Organ("heart", (0.62, 0.24, -0.10), (0.30, 0.28, 0.28), 620, 140, 0.08),
    Organ("liver", (0.02, 0.12, 0.40), (0.40, 0.48, 0.42), 540, 110, 0.09),
    Organ("stomach", (0.06, 0.28, -0.36), (0.30, 0.28, 0.26), 180, 0, 0.12),
    Organ("spleen", (0.05, -0.28, -0.60), (0.24, 0.20, 0.15), 760, 125, 0.08),
    Organ("right kidney", (-0.36, -0.32, 0.38), (0.30, 0.17, 0.15), 840, 190, 0.12),
    Organ("left kidney", (-0.26, -0.32, -0.38), (0.30, 0.17, 0.15), 840, 190, 0.12),
    Organ("bladder", (-0.84, 0.20, 0.0), (0.26, 0.28, 0.32), 960, 10, 0.03),
    Organ("spine", (0.0, -0.54, 0.0), (3.0, 0.17, 0.17), 440, 450, 0.25),
    Organ("aorta", (0.0, -0.28, -0.08), (3.0, 0.09, 0.09), 60, 300, 0.03),
)
"""Painted in this order, later over earlier; an organ's label is its place here plus one, and 0 is air."""

_AIR = {"mr": 0.0, "ct": -1000.0}
_NOISE = 0.015
_BIAS = 0.12
_CYCLES = (5.0, 9.0)
_VERTEBRAE = 9.0


@dataclass(frozen=True)
class _Storage:
    """How a file stores its voxels; `tilt` turns the affine by so many degrees, as an oblique scan does."""

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


def make_phantom(
    seed: int, shape: Triple = (48, 56, 52), number: int = 0, modality: Modality = "mr"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], _Point]:
    """Make one body.

    Parameters
    ----------
    seed : int
        The study; 0 <= seed < 2**64.
    shape : (3,) int
        Voxels along (D, H, W).
    number : int
        The subject within the study.
    modality : {"mr", "ct"}
        Magnetic resonance in arbitrary units, or computed tomography in Hounsfield units.

    Returns
    -------
    image : (D, H, W) float32
    labels : (D, H, W) uint8
        0 in air, else 1 + the organ's place in `ORGANS`.
    spacing : (3,) float
        Voxel edges along (D, H, W), in mm.

    Examples
    --------
    >>> image, labels, spacing = make_phantom(seed=0, shape=(24, 28, 26), number=3)
    >>> image.shape, ORGANS[labels[12, 6, 13] - 1].name
    ((24, 28, 26), 'spine')
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"a phantom's shape is three positive lengths (D, H, W), not {shape}")
    random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    points = _body_coordinates(random, shape)
    labels = _paint(random, points)
    image = _render(random, points, labels, modality)
    edges = random.uniform(0.94, 1.06) * np.array([400.0, 260.0, 360.0]) / shape
    return image, labels, (float(edges[0]), float(edges[1]), float(edges[2]))


def write_phantoms(
    folder: str | Path, count: int = 24, shape: Triple = (48, 56, 52), seed: int = 0, modality: Modality = "mr"
) -> list[Path]:
    """Write `count` bodies to `folder/images` and their labels, on the same grids, to `folder/labels`.

    Parameters
    ----------
    folder : path
        Made if it does not exist; files of the same names are overwritten.
    count : int
    shape : (3,) int
        Voxels along canonical (D, H, W); every file stores its axes in an order of its own.
    seed : int
    modality : {"mr", "ct"}

    Returns
    -------
    paths : list of Path
        The images, in order; the same arguments write the same bytes.
    """
    images, labels = Path(folder) / "images", Path(folder) / "labels"
    for made in (images, labels):
        made.mkdir(parents=True, exist_ok=True)
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
        Made if it does not exist; files of the same names are overwritten.
    count : int
    shape : (2,) int
        Rows and columns. The body's front is up and its right side to the right.
    seed : int
    first : int
        Number of the first body.

    Returns
    -------
    paths : list of Path
        The images, in order; the same arguments write the same pixels.
    """
    images, labels = Path(folder) / "images", Path(folder) / "labels"
    for made in (images, labels):
        made.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        image, organs, _ = make_phantom(seed, (1, *shape), number)
        grey = np.rint(np.clip(image[0], 0, None) * (255 / float(image.max()))).astype(np.uint8)
        paths.append(images / f"phantom_{number:03d}.png")
        Image.fromarray(grey[::-1]).save(paths[-1])
        Image.fromarray(organs[0, ::-1]).save(labels / paths[-1].name)
    return paths


def _body_coordinates(random: np.random.Generator, shape: Triple) -> _Points:
    """Return body coordinates (z, y, x) of every voxel, after a small turn, shift and change of size."""
    axes = [(2 * np.arange(length, dtype=np.float32) + 1) / length - 1 for length in shape]
    turn = np.eye(3) + np.cross(np.eye(3), random.uniform(-0.10, 0.10, 3))
    turn /= random.uniform(0.92, 1.08, (3, 1))
    shift = random.uniform(-0.04, 0.04, 3)
    matrix = turn.astype(np.float32)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return [row[0] * z + row[1] * y + row[2] * x + np.float32(s) for row, s in zip(matrix, shift, strict=True)]


def _paint(random: np.random.Generator, points: _Points) -> npt.NDArray[np.uint8]:
    """Return the label of every point."""
    labels = np.zeros(points[0].shape, np.uint8)
    for label, organ in enumerate(ORGANS, start=1):
        centre = np.array(organ.centre) + random.uniform(-0.05, 0.05, 3) * (label > 1)
        radii = np.array(organ.radii) * random.uniform(0.88, 1.12, 3)
        inside = sum(((points[axis] - np.float32(centre[axis])) / np.float32(radii[axis])) ** 2 for axis in range(3))
        # An organ stays inside the skin, whatever its place and size came out as.
        labels[(inside < 1) & ((labels > 0) | (label == 1))] = label
    return labels


def _render(
    random: np.random.Generator, points: _Points, labels: npt.NDArray[np.uint8], modality: Modality
) -> npt.NDArray[np.float32]:
    """Return the image of the labelled points: contrast, texture, bias, noise, and clean air."""
    air = _AIR[modality]
    contrasts = np.array([getattr(organ, modality) - air for organ in ORGANS])
    contrasts *= random.uniform(0.94, 1.06, len(ORGANS))
    brightness = np.array([0, *contrasts], np.float32)
    strength = brightness * np.array([0, *(organ.texture for organ in ORGANS)], np.float32)
    vertebrae = np.cos(np.float32(_VERTEBRAE * np.pi) * points[0] + np.float32(random.uniform(0, 2 * np.pi)))
    spine = labels == 1 + [organ.name for organ in ORGANS].index("spine")
    image: npt.NDArray[np.float32] = brightness[labels]
    image += strength[labels] * np.where(spine, vertebrae, _texture(random, points))
    image *= _bias(random, points)
    noise = random.standard_normal(labels.shape, dtype=np.float32)
    image += np.float32(_NOISE * contrasts.max()) * noise * (labels > 0)
    image += np.float32(air)
    return image


def _texture(random: np.random.Generator, points: _Points) -> npt.NDArray[np.float32]:
    """Return a pattern between -1 and 1 of crossing waves, a coarse pair and a fine one."""
    total = np.zeros(points[0].shape, np.float32)
    for cycles in _CYCLES:
        waves = []
        for _ in range(2):
            direction = random.standard_normal(3)
            direction *= np.pi * cycles / np.linalg.norm(direction)
            phase = sum(np.float32(d) * point for d, point in zip(direction, points, strict=True))
            waves.append(np.cos(phase + np.float32(random.uniform(0, 2 * np.pi))))
        total += waves[0] * waves[1] / len(_CYCLES)
    return total


def _bias(random: np.random.Generator, points: _Points) -> npt.NDArray[np.float32]:
    """Return a smooth factor around 1, a quadratic in the coordinates, as a receiving coil makes."""
    z, y, x = points
    terms = (z, y, x, z * y, y * x, z * x, z * z, y * y, x * x)
    weights = random.uniform(-_BIAS, _BIAS, len(terms)).astype(np.float32)
    bias: npt.NDArray[np.float32] = np.exp(sum(weight * term for weight, term in zip(weights, terms, strict=True)))
    return bias


def _affine(shape: Triple, spacing: _Point, tilt: float) -> npt.NDArray[np.float64]:
    """Return the affine of a RAS+ grid centred on the origin, turned by `tilt` degrees about the left-right axis."""
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ np.diag(spacing[::-1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return affine


def _encode(
    values: npt.NDArray[np.float32] | npt.NDArray[np.uint8], storage: _Storage
) -> tuple[npt.NDArray[np.generic], float, float]:
    """Return the values as numbers of the stored dtype, and the slope and intercept that give them back."""
    dtype = np.dtype(storage.dtype)
    slope, intercept = 1.0, 0.0
    if storage.scaled:
        limits = np.iinfo(dtype)
        # The header holds float32: what is written must be what was used.
        slope = float(np.float32((float(values.max()) - float(values.min())) / 250 / 2 ** (8 * dtype.itemsize - 8)))
        intercept = float(np.float32(float(values.min()) - limits.min * slope))
    if dtype.kind == "f":
        return values.astype(dtype), slope, intercept
    return np.rint((values - intercept) / slope).astype(dtype), slope, intercept


def _write(
    path: Path, values: npt.NDArray[np.float32] | npt.NDArray[np.uint8], spacing: _Point, storage: _Storage
) -> None:
    """Write canonical (D, H, W) `values` as a gzipped NIfTI-1 file that stores them as `storage` says.

    nibabel would choose slope and intercept itself, so only its header is used.
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
    path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))
