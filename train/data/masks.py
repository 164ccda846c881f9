"""Masks as files: on the very grid of the image they are of."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
from PIL import Image

from dali_cr.index.cases import Case
from dali_cr.index.statistics import canonical_view
from dali_cr.volume.images import is_image

from .labels import Labels
from .split import short_name


def mask_path(case: Case, out: Path) -> Path:
    """Return where the mask of a case goes: the place of its first file under another folder."""
    volume = case.volumes[0]
    if is_image(volume.path):
        return out / PurePosixPath(volume.path).with_suffix(".png")
    frame = f"_{volume.frame}" if case.name.endswith(f"#{volume.frame}") else ""
    return out / PurePosixPath(volume.path).with_name(f"{short_name(volume.path)}{frame}.nii.gz")


def write_mask(labels: Labels, root: Path, case: Case, out: Path) -> Path:
    """Write canonical labels (D, H, W) in the shape, the orientation and with the affine of a case's first file.

    Returns
    -------
    path : Path
        A .nii.gz; of an image a .png, its pixels as a viewer shows the image.
    """
    volume = case.volumes[0]
    path = mask_path(case, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_image(volume.path):
        Image.fromarray(labels[0]).save(path)
        return path
    image = nib.load(root / volume.path)
    assert isinstance(image, nib.Nifti1Pair)
    raw = np.zeros(volume.geometry.voxels, np.uint8)
    canonical_view(raw, volume.geometry)[...] = labels
    shape = (*image.shape, 1, 1)[:3]
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0
    kind = nib.Nifti2Image if isinstance(image, nib.Nifti2Pair) else nib.Nifti1Image
    nib.save(kind(raw.reshape(shape, order="F"), image.affine, header), path)
    return path
