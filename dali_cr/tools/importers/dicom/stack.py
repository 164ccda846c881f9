"""Sort slices along their normal and compute the affine of the volume; gaps, duplicates and tilt are refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dali_cr.tools.importers.dicom.grouping import SAME_POSITION
from dali_cr.tools.importers.dicom.headers import Slice
from dali_cr.volume.geometry import VolumeError

MOST_TILT = 0.5
"""Largest angle in degrees between the normal of the slices and the line through their first pixels."""

MOST_UNEVEN = 0.2
"""Largest distance of a slice from an even grid, as a share of the step. Headers round positions; a missing slice among
four moves another one by 0.33."""

_ROUNDED = 0.01


def stack_slices(slices: Sequence[Slice]) -> tuple[list[Slice], npt.NDArray[np.float64]]:
    """Sort slices by position.

    Parameters
    ----------
    slices : sequence of Slice
        Slices of one size and orientation.

    Returns
    -------
    ordered : list of Slice
    affine : (4, 4) float64
        From (column, row, slice) to mm, LPS.

    Raises
    ------
    VolumeError
        If the slices are not evenly spaced; the message names a file.
    """
    first = slices[0]
    if any(not one.position for one in slices):
        raise VolumeError(
            first.file, "no ImagePositionPatient or ImageOrientationPatient: the position of slices is unknown"
        )
    if not first.spacing or min(first.spacing) <= 0:
        raise VolumeError(first.file, f"PixelSpacing: expected two positive numbers in mm, got {first.spacing}")
    row, column = _unit_vectors(first)
    normal = np.cross(row, column)
    heights = np.array([one.position for one in slices]) @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [slices[place] for place in order]
    step = _step(ordered, heights[order], normal)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, ordered[0].position
    return ordered, affine


def _unit_vectors(one: Slice) -> npt.NDArray[np.float64]:
    """Return the directions of rows and columns of a slice, normalised as in GDCM, because headers round them."""
    vectors = np.reshape(one.directions, (2, 3))
    lengths = np.linalg.norm(vectors, axis=1)
    if abs(lengths - 1).max() > _ROUNDED or abs(vectors[0] @ vectors[1]) > _ROUNDED:
        raise VolumeError(
            one.file, f"ImageOrientationPatient: expected perpendicular unit vectors, got {one.directions}"
        )
    return np.asarray(vectors / lengths[:, None])


def _step(
    slices: Sequence[Slice], heights: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the vector from one slice to the next."""
    if len(slices) == 1:
        return normal * (slices[0].thickness or 1.0)
    gaps = np.diff(heights)
    nearest = int(np.argmin(gaps))
    if gaps[nearest] < SAME_POSITION:
        both = " and ".join(_name(one) for one in slices[nearest : nearest + 2])
        counts = f"{len(slices)} slices at {1 + int((gaps >= SAME_POSITION).sum())} positions"
        raise VolumeError(slices[0].file, f"{counts}, such as {both}: exclude copies, or all volumes but one")
    total = np.subtract(slices[-1].position, slices[0].position)
    tilt = np.degrees(np.arctan2(np.linalg.norm(total - (total @ normal) * normal), total @ normal))
    if tilt > MOST_TILT:
        raise VolumeError(slices[0].file, f"gantry tilt of {tilt:.3g} degrees: resample it, for example with dcm2niix")
    _refuse_gaps(slices, heights, gaps)
    return np.asarray(total / (len(slices) - 1))


def _refuse_gaps(slices: Sequence[Slice], heights: npt.NDArray[np.float64], gaps: npt.NDArray[np.float64]) -> None:
    even = np.linspace(heights[0], heights[-1], len(heights))
    step = even[1] - even[0]
    if abs(heights - even).max() > MOST_UNEVEN * step:
        widest = int(np.argmax(gaps))
        both = " and ".join(_name(one) for one in slices[widest : widest + 2])
        raise VolumeError(
            slices[0].file,
            f"missing or unevenly spaced slices: {gaps.max():.4g} mm between {both}, elsewhere {gaps.min():.4g} mm",
        )


def _name(one: Slice) -> str:
    return one.file if not one.frame else f"{one.file}, frame {one.frame}"
