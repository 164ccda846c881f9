"""`read_volume`: a whole file as float32, through the same geometry and arithmetic as the training samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.ops.decode import decode_channel
from dali_cr.ops.gather import gather_box
from dali_cr.ops.record import Rescale
from dali_cr.recipe.checks import check_spacing
from dali_cr.volume import reader
from dali_cr.volume.geometry import Geometry, Triple
from dali_cr.volume.grid import Spacing, crop_map, resampled_shape


def read_volume(path: str | os.PathLike[str], spacing: Spacing | None = None) -> npt.NDArray[np.float32]:
    """Read a NIfTI file, a brick store or an image as canonical float32.

    Parameters
    ----------
    path : path
        .nii, .nii.gz, or the .hdr of a pair; .ozx; .png, .jpg.
    spacing : (3,) float, optional
        Resample to voxels of so many mm along (D, H, W), as `Restoration` does; NaN and Inf spread to neighbours then.

    Returns
    -------
    volume : (C, D, H, W) float32
        ``nibabel.as_closest_canonical(image).get_fdata()`` rounded to float32, with the axes in the order (z, y, x);
        a fourth axis comes first. NaN and Inf are kept; float32 subnormals become 0. Of an image D is 1, H runs down
        and W to the right, and C is 1 (grey) or 3 (RGB).

    Raises
    ------
    VolumeError
        If the file cannot be read; the message names it and the reason.
    ValueError
        If the spacing is none.

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> read_volume(data_path / "anatomical.nii").shape
    (1, 25, 41, 33)
    """
    check_spacing(spacing)
    geometry, data = reader.read_header(Path(path))
    out = read_voxels(geometry, data)
    there = resampled_shape(geometry.shape, geometry.spacing, spacing)
    return out if there == geometry.shape else np.stack([resample(channel, there) for channel in out])


def read_voxels(geometry: Geometry, data: Path) -> npt.NDArray[np.float32]:
    """Read the voxels that a header describes, along the axes of its geometry.

    Parameters
    ----------
    geometry : Geometry
    data : Path
        The file that holds the voxels: both as `reader.read_header` returns them.

    Returns
    -------
    volume : (C, D, H, W) float32

    Raises
    ------
    VolumeError
        If the file cannot be read.
    """
    content, _ = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    rescale = Rescale(geometry.slope, geometry.intercept, keep=True)
    out = np.empty((geometry.frames, *geometry.shape), np.float32)
    for frame, channel in enumerate(out):
        decode_channel(geometry.view(content, frame, (0, 0, 0), geometry.shape), rescale, channel)
    return out


def resample(volume: npt.NDArray[np.float32], shape: Triple) -> npt.NDArray[np.float32]:
    """Return a volume on another grid over the same space, interpolated as a crop of `Restoration(spacing=...)` is.

    Parameters
    ----------
    volume : (D, H, W) float32
    shape : (3,) int
        Of the other grid.

    Returns
    -------
    resampled : `shape` float32
        The volume itself where it has that shape.

    Examples
    --------
    >>> resample(np.float32([[[0, 4, 8]]]), (1, 1, 6)).tolist()
    [[[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]]]
    """
    own = (volume.shape[0], volume.shape[1], volume.shape[2])
    if own == tuple(shape):
        return volume
    out = np.empty(shape, np.float32)
    matrix, offset = crop_map((0, 0, 0), (False, False, False), shape, own, shape)
    gather_box(volume, (0, 0, 0), 0.0, matrix, offset, out, clamped=True)
    return out
