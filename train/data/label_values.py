"""Reading of label values: integers from 0 to 255, as stored in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.index.values.classes import are_whole
from dali_cr.read.whole import read_voxels
from dali_cr.volume import reader
from dali_cr.volume.geometry import Geometry, VolumeError
from dali_cr.volume.images import grey_step, is_image, is_lossy

MAX_VALUE = 255
"""The largest label; label volumes are kept as uint8."""

_SHOWN = 8
"""Maximum number of values in a message."""


def read_values(path: Path, geometry: Geometry | None = None) -> npt.NDArray[np.uint8]:
    """Read the values of a label volume, canonical (D, H, W) or along the axes of a geometry.

    Values of PNG files with 1, 2 or 4 bits are those of the file (images are scaled to 0...255). Values that differ
    from integers by less than 1e-3, as scale factors may cause, are rounded.

    Parameters
    ----------
    path : Path
    geometry : Geometry, optional
        The file's geometry with its axes in another order.

    Raises
    ------
    dali_cr.VolumeError
        If the file cannot be read, its compression is lossy, or a value is not an integer from 0 to 255.
    """
    check_lossless(path)
    own, data = reader.read_header(path)
    geometry = geometry or own
    if geometry.frames != 1:
        raise VolumeError(path, f"expected one label per voxel, got {geometry.frames} frames")
    values = read_voxels(geometry, data)[0]
    if (step := grey_step(path, reader.read_head(path))) > 1:
        values /= np.float32(step)
    if not (np.isfinite(values).all() and are_whole(values)):
        scaled = (geometry.slope, geometry.intercept) != (1.0, 0.0)
        factor = f", scaled by its header ({geometry.slope:g}, offset {geometry.intercept:g})" if scaled else ""
        raise VolumeError(
            path,
            f"expected integers as labels (to 1e-3), got {_listed(values)}{factor}; save the labels as integers, and "
            "check that this is not an image",
        )
    low, high = float(values.min()), float(values.max())
    whole = np.rint(values)
    if whole.min() < 0 or whole.max() > MAX_VALUE:
        raise VolumeError(path, f"expected labels from 0 to {MAX_VALUE}, got {low:g} to {high:g}; renumber them")
    return np.asarray(whole, np.uint8)


def check_lossless(path: Path) -> None:
    """Check that the format of a label file is lossless.

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


def check_depths(found: Mapping[Path, Sequence[int]]) -> None:
    """Check that PNG masks do not mix labels scaled to 0...255 with unscaled labels of fewer bits.

    Parameters
    ----------
    found : mapping of Path to sequence of int
        The label values of each file.

    Raises
    ------
    ValueError
        If 255 in one file corresponds to 1 (or 3, or 15) in a file with 1 (or 2, or 4) bits.
    """
    steps = {path: grey_step(path, reader.read_head(path)) for path in found if is_image(path)}
    scaled = next((path for path, step in steps.items() if step == 1 and MAX_VALUE in found[path]), None)
    for path, step in steps.items():
        deep = {value for other, its in steps.items() if its == 1 for value in found[other]}
        if scaled and step > 1 and any(found[path]) and all(value % step == 0 for value in deep):
            raise ValueError(
                f"labels: expected the same label values in all masks, {path.name} with fewer than 8 bits has at most "
                f"{MAX_VALUE // step} where {scaled.name} has {MAX_VALUE}; save all masks with 8 bits"
            )


def _listed(values: npt.NDArray[np.float32]) -> str:
    """Return the distinct values as text, at most `_SHOWN` of them."""
    distinct = np.unique(values)
    more = f" and {len(distinct) - _SHOWN} more values" if len(distinct) > _SHOWN else ""
    return ", ".join(f"{value:.6g}" for value in distinct[:_SHOWN].tolist()) + more
