"""`read_volume`: a whole file as float32, through the same geometry and arithmetic as the training samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr import reader
from dali_cr.ops.decode import Affine, decode_channel


def read_volume(path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
    """Read a NIfTI file, or an image, as canonical float32.

    Parameters
    ----------
    path : path
        .nii, .nii.gz, or the .hdr of a pair; .png, .jpg.

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

    Examples
    --------
    >>> from importlib.resources import files
    >>> data_path = files("nibabel") / "tests" / "data"
    >>> read_volume(data_path / "anatomical.nii").shape
    (1, 25, 41, 33)
    """
    geometry, data = reader.read_header(Path(path))
    content, _ = reader.read_whole(data, geometry.data_offset + geometry.data_bytes)
    affine = Affine(geometry.slope, geometry.intercept, keep=True)
    out = np.empty((geometry.frames, *geometry.shape), np.float32)
    for frame, channel in enumerate(out):
        decode_channel(geometry.view(content, frame, (0, 0, 0), geometry.shape), affine, channel)
    return out
