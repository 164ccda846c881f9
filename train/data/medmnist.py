"""Convert a 3-D MedMNIST file (.npz) into NIfTI files and a CSV file of classes.

::

    python -m train.data.medmnist organpatch3d.npz --out organpatch3d --names labels.json --axes PLI

The file has the arrays ``{train,val,test}_images`` (n, a, b, c) uint8 and ``{train,val,test}_labels`` (n, 1). The
output folder has ``images/train_0000.nii.gz`` and so on, and ``classes.csv`` with the columns case, label and split.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..start.interrupt import quit_on_interrupt

    quit_on_interrupt("medmnist")

from ..start import needs  # noqa: F401 - before all that may be missing

# isort: split

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import tyro
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from dali_cr.system.owner import own_folder, refuse_full

from ..output.files import write_text
from ..start.command import asked, end, read_arguments
from .labels import read_names
from .masks import write_nifti

_PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class MedmnistConfig:
    """Convert a 3-D MedMNIST file into NIfTI files and a CSV file of classes."""

    file: tyro.conf.Positional[Path]
    """Data: the .npz file."""
    out: Path
    """Output: a new or empty folder."""
    names: Path | None = None
    """Data: JSON file with the names of the classes, such as {"0": "liver"}."""
    axes: str = "RAS"
    """Data: directions of the three axes of a volume: one of R or L, one of A or P, one of S or I."""
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Data: voxel size in mm along these axes; the file does not contain it."""


def read_parts(path: Path) -> dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Read the volumes (n, a, b, c) and the classes (n,) of each part.

    Raises
    ------
    ValueError
        If the file has another layout.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise ValueError(f"medmnist: expected an .npz file, {path} cannot be read: {error}") from error
    parts = {}
    for part in _PARTS:
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None or labels is None:
            raise ValueError(f"medmnist: expected {part}_images and {part}_labels in {path}, got {', '.join(arrays)}")
        if images.ndim != 4 or images.dtype != np.uint8 or labels.shape not in ((len(images), 1), (len(images),)):
            raise ValueError(
                f"medmnist: expected volumes (n, a, b, c) of uint8 with one class each, {part} of {path} has "
                f"{images.shape} of {images.dtype} and {labels.shape}"
            )
        parts[part] = (images, labels.reshape(-1).astype(np.int64))
    return parts


def make_affine(axes: str, spacing: Sequence[float], shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """Return the affine for given axis directions and voxel sizes.

    Raises
    ------
    ValueError
        If the letters are not three different directions.

    Examples
    --------
    >>> make_affine("PLI", (2.0, 1.0, 1.0), (2, 2, 2))[:3, :3].tolist()
    [[0.0, -1.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, -1.0]]
    """
    opposite = str.maketrans("LPI", "RAS")
    if sorted(axes.translate(opposite)) != ["A", "R", "S"]:
        raise ValueError(f"axes: expected one of R or L, one of A or P and one of S or I, as in RAS; got {axes!r}")
    # File voxels to canonical voxels, then canonical voxels to mm.
    order = axcodes2ornt(tuple(axes))
    sizes = np.ones(3)
    sizes[order[:, 0].astype(int)] = spacing
    return np.asarray(np.diag([*sizes, 1.0]) @ np.linalg.inv(inv_ornt_aff(order, shape)))


def main(config: MedmnistConfig) -> dict[str, Any]:
    """Write the folder and return the number of volumes of each part.

    Raises
    ------
    ValueError, OSError
        If the file is invalid or the folder cannot be written.
    """
    with own_folder(config.out):
        refuse_full(config.out)
        return _write(config)


def _write(config: MedmnistConfig) -> dict[str, Any]:
    """Write the volumes and the CSV file."""
    parts, called = read_parts(config.file), read_names(config.names)
    affine = make_affine(config.axes, config.spacing, parts["train"][0].shape[1:])
    (config.out / "images").mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "label", "split"])
    for part, (images, labels) in parts.items():
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            name = f"{part}_{number:04}.nii.gz"
            write_nifti(config.out / "images" / name, nib.Nifti1Image(image, affine).to_bytes())
            table.writerow([name, called.get(label, f"class {label}"), part])
    write_text(config.out / "classes.csv", text.getvalue())
    return {"out": str(config.out), **{part: len(images) for part, (images, _) in parts.items()}}


def command_line(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit code."""
    return end("medmnist", lambda: asked(lambda: main(read_arguments(MedmnistConfig, "data.medmnist", arguments))))


if __name__ == "__main__":
    sys.exit(command_line())
