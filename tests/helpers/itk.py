"""Read images with SimpleITK and reorder them to the canonical grid, for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from dali_cr.volume.packed.contents import StoreContents


def read_dicom(files: Sequence[Path]) -> Any:
    """Return the image of a series, its files ordered by GDCM."""
    folder = {str(file.parent) for file in files}
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(*folder, "") if len(files) > 1 else list(map(str, files))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    return reader.Execute()


def canonical(image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's values (D, H, W) and affine on the canonical grid, reordered by nibabel."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * np.array(image.GetSpacing()), image.GetOrigin()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    values = sitk.GetArrayFromImage(image)
    turned = nib.as_closest_canonical(nib.Nifti1Image(values.astype(np.float64).T, lps @ affine))
    return np.asarray(turned.dataobj).T, turned.affine


def assert_same(contents: StoreContents, image: Any, channel: int = 0, *, mm: float = 1e-4) -> None:
    """Check that contents and an image have the same values and positions of corners."""
    values, affine = canonical(image)
    own = contents.voxels[channel].astype(np.float64) * contents.slope + contents.intercept
    np.testing.assert_array_equal(own, values)
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [
        *np.array(own.shape)[::-1] - 1,
        1,
    ]
    np.testing.assert_allclose(corners @ np.array(contents.affine).T, corners @ affine.T, rtol=0, atol=mm)
