"""Boxes of organs in label volumes, as the table that fine-tuning reads, and a crop that holds every scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from dali_cr.volume.geometry import Triple, VolumeError
from dali_cr.volume.grid import resampled_shape
from dali_cr.volume.reader import read_header

from ..folder import table

ORGANS = {"liver": 6, "spleen": 1, "right kidney": 2, "left kidney": 3, "pancreas": 10}
"""Labels of the organs."""

STRIDE = 32
"""Voxels along each axis that are one of the coarsest features of locnet."""

_CORNERS = tuple(f"{end}{axis}" for end in ("lo", "hi") for axis in "ijk")

Pairs = dict[str, tuple[Path, Path]]
"""Image and label volume by case."""


def find_boxes(labels: npt.NDArray[Any]) -> dict[str, list[int]]:
    """Return the half-open box of each organ that has voxels: lo and hi along the array's axes.

    Examples
    --------
    >>> labels = np.zeros((4, 5, 6), np.uint8)
    >>> labels[1:3, 2, 0:4] = 6
    >>> find_boxes(labels)
    {'liver': [1, 2, 0, 3, 3, 4]}
    """
    boxes = {}
    for organ, label in ORGANS.items():
        places = np.nonzero(labels == label)
        if places[0].size:
            boxes[organ] = [*(int(place.min()) for place in places), *(int(place.max()) + 1 for place in places)]
    return boxes


def measure(pairs: Pairs, spacing: float) -> tuple[dict[str, dict[str, list[int]]], list[Triple], dict[str, str]]:
    """Return the boxes and the resampled shape of each scan, and by case the reason why it cannot be used."""
    boxes, shapes, refused = {}, [], {}
    for case, (image, label) in tqdm(pairs.items(), "boxes", unit="case"):
        try:
            geometry, other = read_header(image)[0], read_header(label)[0]
            if other.aligned(geometry) is None:
                raise VolumeError(label, "on another grid than its scan")
            found = find_boxes(np.asarray(nib.Nifti1Image.from_filename(label).dataobj))
        except (VolumeError, OSError, EOFError) as error:
            refused[case] = str(error)
            continue
        boxes[case] = found
        shapes.append(resampled_shape(geometry.shape, geometry.spacing, (spacing,) * 3))
    return boxes, shapes, refused


def boxes_csv(boxes: Mapping[str, Mapping[str, Sequence[int]]]) -> bytes:
    """Return the table of boxes; the cells of an organ without voxels are empty."""
    header = ["case", *(f"{organ}_{corner}" for organ in ORGANS for corner in _CORNERS)]
    empty = [""] * len(_CORNERS)
    return table(
        header, [[case, *(edge for organ in ORGANS for edge in of.get(organ, empty))] for case, of in boxes.items()]
    )


def view_words(shapes: Sequence[Triple], spacing: float) -> str:
    """Return the options of a crop that holds all scans, of a whole number of the network's coarsest features."""
    edges = [-(-max(shape[axis] for shape in shapes) // STRIDE) * STRIDE for axis in range(3)]
    return " ".join(["--spacing", *[f"{spacing:g}"] * 3, "--crop", *map(str, edges)]) + "\n"
