"""Crops of LUNA16: cubes around candidates, at one spacing, as NIfTI files."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

import dali_cr
from dali_cr.volume.reader import read_header

from ...output.files import write_whole
from .marks import Mark

OUTSIDE = -1000.0
"""Value of voxels outside of the scan, in HU: air (project choice)."""

_TILT = 1e-3
"""Largest share of an axis that may lie along another one."""


def axes_of(affine: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return voxel size and position of the first voxel, in mm along (D, H, W).

    Raises
    ------
    ValueError
        If the axes are not those of the world.
    """
    matrix = np.asarray(affine, np.float64)
    size = np.diag(matrix)[:3]
    if (np.abs(matrix[:3, :3] - np.diag(size)) > _TILT * np.abs(size)).any():
        raise ValueError(f"expected axes along those of the patient, got the affine {matrix.tolist()}")
    return size[::-1].copy(), matrix[2::-1, 3].copy()


def cut_crop(
    volume: npt.NDArray[np.float32],
    affine: npt.ArrayLike,
    centre: Sequence[float],
    edge: int,
    spacing: float,
) -> npt.NDArray[np.int16]:
    """Return a cube around a position, interpolated linearly.

    Parameters
    ----------
    volume : (D, H, W) float32
    affine : (4, 4) float
        Voxel index (x, y, z) to mm, RAS+.
    centre : (x, y, z) float
        In mm, RAS+.
    edge : int
        Voxels along each axis.
    spacing : float
        Voxel size in mm.

    Returns
    -------
    crop : (edge, edge, edge) int16
        Outside of the scan `OUTSIDE`.

    Raises
    ------
    ValueError
        If the centre is more than a voxel outside of the scan.

    Examples
    --------
    >>> volume = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    >>> cut_crop(volume, np.eye(4), (0.5, 0.5, 0.5), edge=2, spacing=1.0).ravel().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    size, origin = axes_of(affine)
    middle = (np.asarray(centre, np.float64)[::-1] - origin) / size
    if (middle < -1).any() or (middle > volume.shape).any():
        raise ValueError(f"expected a position in the scan, got voxel {middle.round(1).tolist()} of {volume.shape}")
    steps = (np.arange(edge) - (edge - 1) / 2) * spacing
    places: list[tuple[npt.NDArray[Any], ...]] = []
    crop: npt.NDArray[Any] = volume
    inside = np.ones((1, 1, 1), np.bool_)
    for axis in range(3):
        place = middle[axis] + steps / size[axis]
        low, last = np.floor(place).astype(np.int64), volume.shape[axis] - 1
        begin, stop = np.clip([low[0], low[-1] + 1], 0, last)
        crop = crop[(slice(None),) * axis + (slice(begin, stop + 1),)]
        places.append((place - low, np.clip(low, 0, last) - begin, np.clip(low + 1, 0, last) - begin))
        inside = inside & _along(axis, (place >= -0.5) & (place <= last + 0.5))
    for axis, (share, first, second) in enumerate(places):
        share = _along(axis, share)
        crop = np.take(crop, first, axis) * (1 - share) + np.take(crop, second, axis) * share
    limits = np.iinfo(np.int16)
    return np.where(inside, crop, OUTSIDE).round().clip(limits.min, limits.max).astype(np.int16)


def _along(axis: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values of one axis of a volume, to be broadcast over the others."""
    return values.reshape([-1 if one == axis else 1 for one in range(3)])


def as_nifti(crop: npt.NDArray[np.int16], centre: Sequence[float], spacing: float) -> bytes:
    """Return a cube as a compressed NIfTI file; `centre` in mm, RAS+.

    The same cube gives the same bytes.
    """
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - spacing * (np.array(crop.shape[::-1]) - 1) / 2
    image = nib.Nifti1Image(crop.T, affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 1, mtime=0)


def crop_path(candidate: str) -> str:
    """Return the file of a candidate's crop."""
    scan, _, number = candidate.partition("_")
    return f"crops/{scan}/{number}.nii.gz"


def write_crops(
    out: Path, candidates: Mapping[str, Mark], stores: Mapping[str, Path], edge: int, spacing: float
) -> None:
    """Write the crops that are not there yet.

    Raises
    ------
    ValueError
        If a candidate is outside of its scan, or the axes of a scan are oblique.
    """
    wanted = defaultdict(list)
    for name, mark in candidates.items():
        if not (out / crop_path(name)).exists():
            wanted[mark.scan].append(name)
    for scan, names in tqdm(wanted.items(), "crops", unit="scan", disable=not wanted):
        affine, volume = read_header(stores[scan])[0].affine, dali_cr.read_volume(stores[scan])[0]
        for name in names:
            x, y, z = candidates[name].position
            try:
                crop = cut_crop(volume, affine, (-x, -y, z), edge, spacing)
            except ValueError as error:
                raise ValueError(f"source: candidate {name}: {error}") from error
            path = out / crop_path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, as_nifti(crop, (-x, -y, z), spacing))
