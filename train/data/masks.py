"""Writing of masks and probabilities on the grid of their image."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dali_cr.index.volumes import Case
from dali_cr.volume.images import is_image

from ..output.files import write_whole
from ..output.names import mask_name, probabilities_name
from ..output.nifti_mask import encode_mask, encode_probabilities
from .labels import Labels


def mask_path(case: Case, out: Path) -> Path:
    """Return the path of a case's mask; see `train.output.names.mask_name`."""
    return out / mask_name(case)


def write_mask(labels: Labels, root: Path, case: Case, out: Path) -> Path:
    """Write canonical labels (D, H, W) on the grid and with the header of a case's first file; see `encode_mask`.

    Returns
    -------
    path : Path
        A .nii.gz or .nii file, or for an image a .png file in the orientation of the image; written atomically.
    """
    volume = case.volumes[0]
    path = mask_path(case, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_image(volume.path):
        buffer = io.BytesIO()
        Image.fromarray(labels[0]).save(buffer, "png")
        write_whole(path, buffer.getvalue())
    else:
        write_nifti(path, encode_mask(labels, root / volume.file, volume.geometry))
    return path


def write_probabilities(shares: npt.NDArray[np.float32], root: Path, case: Case, out: Path) -> Path:
    """Write probabilities (K, D, H, W) on the grid of a case's first file.

    Returns
    -------
    path : Path
        A NIfTI file whose fourth axis is the classes; for an image an .npz file with `probabilities` (K, H, W).
    """
    volume = case.volumes[0]
    path = out / probabilities_name(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_image(volume.path):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probabilities=shares[:, 0])
        write_whole(path, buffer.getvalue())
    else:
        write_nifti(path, encode_probabilities(shares, root / volume.file, volume.geometry))
    return path


def write_nifti(path: Path, content: bytes) -> None:
    """Write a NIfTI file atomically, compressed if its name ends in .gz."""
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, 1, mtime=0)
    write_whole(path, content)
