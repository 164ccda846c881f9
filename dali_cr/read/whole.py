"""`read_volume`: read a whole file as float32, with the same geometry and arithmetic as training samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.ops.decode import decode_channel
from dali_cr.ops.gather import gather_box
from dali_cr.ops.records.rescale import Rescale
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
        Resample to this spacing in mm along (D, H, W), as `Restoration` does; NaN and Inf then spread to neighbours.

    Returns
    -------
    volume : (C, D, H, W) float32
        ``nibabel.as_closest_canonical(image).get_fdata()`` rounded to float32, with the axes in the order (z, y, x); a
        fourth axis comes first. NaN and Inf are kept; float32 subnormals become 0. For images D is 1, H runs down, W to
        the right, and C is 1 (grey) or 3 (RGB).

    Raises
    ------
    VolumeError
        If the file cannot be read; the message gives the file and the reason.
    ValueError
        If the spacing is invalid.

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
    shape = resampled_shape(geometry.shape, geometry.spacing, spacing)
    return out if shape == geometry.shape else np.stack([resample(channel, shape) for channel in out])


def read_voxels(geometry: Geometry, data: Path) -> npt.NDArray[np.float32]:
    """Read the voxels of a file along the axes of its geometry.

    Parameters
    ----------
    geometry : Geometry
    data : Path
        The file with the voxels; both from `reader.read_header`.

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
    """Resample a volume to another grid over the same space, in the same way as `Restoration(spacing=...)`.

    Parameters
    ----------
    volume : (D, H, W) float32
    shape : (3,) int
        Shape of the new grid.

    Returns
    -------
    resampled : `shape` float32
        The volume itself if it already has that shape.

    Examples
    --------
    >>> resample(np.float32([[[0, 4, 8]]]), (1, 1, 6)).tolist()
    [[[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]]]
    """
    old_shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    if old_shape == tuple(shape):
        return volume
    out = np.empty(shape, np.float32)
    matrix, offset = crop_map((0, 0, 0), (False, False, False), shape, old_shape, shape)
    gather_box(volume, (0, 0, 0), 0.0, matrix, offset, out, clamped=True)
    return out
