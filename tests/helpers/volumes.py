"""Provide volumes for tests: nibabel's files, real data if available, and generated files."""

from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

NIBABEL = Path(nib.__file__).parent / "tests" / "data"
DATA = Path(os.environ.get("DALI_CR_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
"""Folder of real volumes; tests pass without it."""

ORIENTATIONS = [
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
]
"""All 48 orientations."""

STORED_AXES = list(itertools.product(itertools.permutations((0, 1, 2)), itertools.product((False, True), repeat=3)))
"""Orders of three axes, and flips of the reordered axes."""


def nifti_files(folder: Path) -> list[Path]:
    """Return every file under a folder that may be a NIfTI volume, sorted."""
    suffixes = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
    return sorted(path for path in folder.rglob("*") if path.name.endswith(suffixes)) if folder.is_dir() else []


def some_nifti_files(folder: Path, most: int = 20) -> list[Path]:
    """Return at most some files of each folder under a folder: the many files of a data set are of one kind."""
    by_folder: dict[Path, list[Path]] = {}
    for path in nifti_files(folder):
        by_folder.setdefault(path.parent, []).append(path)
    return [path for paths in by_folder.values() for path in paths[:: -(-len(paths) // most)]]


def expected(path: Path) -> np.ndarray:
    """Return a volume read by nibabel, as (C, D, H, W) float64."""
    values = nib.as_closest_canonical(nib.load(path)).get_fdata()
    spatial = (*values.shape, 1, 1)[:3]
    frames = [n for n in values.shape[3:] if n != 1] or [1]
    return values.reshape(*spatial, *frames).transpose(3, 2, 1, 0)


def write_nifti(
    path: Path,
    canonical: np.ndarray,
    *,
    orientation: str = "RAS",
    dtype: str = "<i2",
    slope: float | None = None,
    intercept: float = 0.0,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    kind: type[nib.Nifti1Image] = nib.Nifti1Image,
) -> Path:
    """Write raw numbers given on the canonical (x, y, z[, t]) grid, stored in any orientation, dtype and byte order."""
    to_file = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    stored = apply_orientation(canonical, to_file)
    affine = np.diag([*spacing, 1.0]) @ inv_ornt_aff(to_file, canonical.shape[:3])
    header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(stored.shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1, strip_shears=True)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    if slope is not None:
        header.set_slope_inter(slope, intercept)
    header["magic"] = b"n+1" if kind is nib.Nifti1Image else header["magic"]
    offset = header.single_vox_offset
    header["vox_offset"] = offset
    content = header.binaryblock + bytes(offset - header.sizeof_hdr)
    content += stored.astype(dtype).tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)
    return path


def store_along(
    array: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return an (x, y, z) array and its affine with axes reordered and flipped; the grid is the same."""
    array, affine = array.transpose(order), affine[:, [*order, 3]]
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return array, affine


def random_numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return random numbers over the range of a dtype."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 1000, shape).astype(kind.newbyteorder("="))
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind.newbyteorder("="), endpoint=True)
