"""The numbers of a label volume: as the file stores them, whole, from 0 to 255."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.statistics import are_whole
from dali_cr.read.whole import read_voxels
from dali_cr.volume import reader
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.images import grey_step, is_image, is_lossy

MAX_VALUE = 255
"""The largest label: a byte a voxel is kept in memory."""

_SHOWN = 8
"""Most distinct values that a message lists."""


def read_values(path: Path, geometry: Geometry | None = None) -> npt.NDArray[np.uint8]:
    """Read the numbers of a label volume, canonical (D, H, W), or along the axes of a geometry.

    Numbers of 1, 2 or 4 bits in a PNG are those of the file, where images have them spread to 0...255; numbers that are
    whole to 1e-3, as a scale factor leaves them, are rounded.

    Parameters
    ----------
    path : Path
    geometry : Geometry, optional
        That of the file, with its axes in another order.

    Raises
    ------
    dali_cr.VolumeError
        If the file cannot be read, its compression is lossy, or a number is not whole or not from 0 to 255.
    """
    refuse_lossy(path)
    own, data = reader.read_header(path)
    geometry = geometry or own
    if geometry.frames != 1:
        raise VolumeError(path, f"expected one label a voxel, got {geometry.frames} frames")
    values = read_voxels(geometry, data)[0]
    if (step := grey_step(path, reader.read_head(path))) > 1:
        values /= np.float32(step)
    if not (np.isfinite(values).all() and are_whole(values)):
        scaled = (geometry.slope, geometry.intercept) != (1.0, 0.0)
        factor = f", scaled by its header ({geometry.slope:g}, offset {geometry.intercept:g})" if scaled else ""
        raise VolumeError(
            path,
            f"expected whole numbers as labels (to 1e-3), got {_listed(values)}{factor}; save it with integers, "
            "or is it an image?",
        )
    low, high = float(values.min()), float(values.max())
    whole = np.rint(values)
    if whole.min() < 0 or whole.max() > MAX_VALUE:
        raise VolumeError(path, f"expected labels from 0 to {MAX_VALUE}, got {low:g} to {high:g}; number them anew")
    return np.asarray(whole, np.uint8)


def refuse_lossy(path: Path) -> None:
    """Refuse a format that changes numbers.

    Raises
    ------
    dali_cr.VolumeError
        If the file is a JPEG.
    """
    if is_lossy(path):
        raise VolumeError(
            path,
            "a JPEG cannot hold labels: its lossy compression changes numbers around edges; "
            "export the masks again as PNG",
        )


def refuse_mixed_depths(found: Mapping[Path, Sequence[int]]) -> None:
    """Refuse PNG masks of which some are spread over 0...255 and others, of fewer bits, hold the numbers themselves.

    Parameters
    ----------
    found : mapping of Path to sequence of int
        The label values of each file.

    Raises
    ------
    ValueError
        If 255 in some file is what 1 (or 3, or 15) is in a file of 1 (or 2, or 4) bits.
    """
    steps = {path: grey_step(path, reader.read_head(path)) for path in found if is_image(path)}
    spread = next((path for path, step in steps.items() if step == 1 and MAX_VALUE in found[path]), None)
    for path, step in steps.items():
        deep = {value for other, its in steps.items() if its == 1 for value in found[other]}
        if spread and step > 1 and any(found[path]) and all(value % step == 0 for value in deep):
            raise ValueError(
                f"labels: expected one numbering, {path.name} of fewer than 8 bits has at most {MAX_VALUE // step} "
                f"where {spread.name} has {MAX_VALUE}; save all masks with 8 bits"
            )


def _listed(values: npt.NDArray[np.float32]) -> str:
    """Return the distinct values as text, of many the first."""
    distinct = np.unique(values)
    more = f" and {len(distinct) - _SHOWN} more values" if len(distinct) > _SHOWN else ""
    return ", ".join(f"{value:.6g}" for value in distinct[:_SHOWN].tolist()) + more
