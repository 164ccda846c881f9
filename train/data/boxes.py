"""Half-open boxes around organs in voxels, along a file's axes (i, j, k) or the canonical axes (D, H, W).

A box [lo, hi) contains the voxels lo to hi - 1. Voxel n extends from n to n + 1, so hi - lo is the length of an edge,
and a face's coordinate times the voxel size is its distance in mm from the corner of the volume.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.plan.sample import View
from dali_cr.volume.geometry import Geometry, Triple

from .tables import choose_columns, read_table

Boxes = npt.NDArray[np.float64]
"""(K, 2, 3): lo and hi along D, H, W for each of K organs; NaN if an organ is not contoured."""

_AXES = {"R": (2, 1), "L": (2, -1), "A": (1, 1), "P": (1, -1), "S": (0, 1), "I": (0, -1)}
_AXES |= {"X": (2, 1), "Y": (1, 1), "Z": (0, 1)}
"""From the letter of a file's axis to its canonical axis and direction (1 or -1); images have axes X, Y, Z."""

_CORNERS = {"x0": "box_loi", "y0": "box_loj", "x1": "box_hii", "y1": "box_hij"}
"""Full column names of the short ones for a single box per image."""

_COLUMN = re.compile(r"(.+)_(lo|hi)([ijk])")


def read_boxes(path: Path, wanted: tuple[str, ...]) -> tuple[list[str], dict[str, npt.NDArray[np.float64]]]:
    """Read a CSV file of boxes: columns NAME_loi, NAME_loj, NAME_lok, NAME_hii, NAME_hij, NAME_hik for each organ.

    Parameters
    ----------
    path : Path
        Values are voxels along the file's axes (for images: i columns, j rows), empty if an organ is not contoured. For
        images, NAME_lok and NAME_hik may be omitted. A single box per image may have the columns x0, y0, x1, y1; its
        name is "box".
    wanted : tuple of str
        Organs to read; all if empty.

    Returns
    -------
    organs : list of str
    boxes : dict of str to (K, 2, 3) float64
        Boxes by the case's name in the file; NaN if not contoured.

    Raises
    ------
    ValueError
        If columns are missing or a box is invalid; names the case and the organ.
    """
    columns, rows = read_table(path)
    if set(_CORNERS) <= set(columns):
        columns = [_CORNERS.get(column, column) for column in columns]
        if len(set(columns)) < len(columns):
            raise ValueError(
                f"labels: expected either columns x0, y0, x1, y1 or an organ named box, got both in {path}"
            )
        rows = {case: {_CORNERS.get(name, name): text for name, text in row.items()} for case, row in rows.items()}
    named = [found[1] for column in columns if (found := _COLUMN.fullmatch(column))]
    organs = choose_columns(path, list(dict.fromkeys(named)), wanted)
    if not organs:
        raise ValueError(f"labels: expected columns NAME_loi to NAME_hik for each organ, got none in {path}")
    flat = not any(f"{o}_{end}k" in columns for o in organs for end in ("lo", "hi"))
    corners = [f"{end}{axis}" for end in ("lo", "hi") for axis in ("ij" if flat else "ijk")]
    missing = [f"{o}_{c}" for o in organs for c in corners if f"{o}_{c}" not in columns]
    if missing:
        raise ValueError(
            f"labels: expected six columns for each organ (four for images), {missing[0]} is missing in {path}"
        )
    boxes = {
        case: np.stack([_box(path, case, organ, [row[f"{organ}_{corner}"] for corner in corners]) for organ in organs])
        for case, row in rows.items()
    }
    return organs, boxes


def _box(path: Path, case: str, organ: str, texts: list[str]) -> npt.NDArray[np.float64]:
    if not any(texts):
        return np.full((2, 3), np.nan)
    if len(texts) == 4:
        texts = [*texts[:2], "0", *texts[2:], "1"]
    try:
        box = np.array([float(text) for text in texts]).reshape(2, 3)
    except ValueError as error:
        raise ValueError(f"labels: expected six numbers for {organ} of {case} in {path}, got {texts}") from error
    if not (box[0] < box[1]).all():
        raise ValueError(f"labels: expected a half-open box with lo < hi for {organ} of {case} in {path}, got {texts}")
    return box


def to_canonical(boxes: npt.NDArray[np.float64], geometry: Geometry) -> Boxes:
    """Convert boxes (K, 2, 3) from a file's axes to canonical axes.

    For example, all three axes of a file stored as LPI are reversed, and its i is W.
    """
    out = np.empty_like(boxes)
    for axis, letter in enumerate(geometry.orientation):
        to, sign = _AXES[letter]
        pair = boxes[:, :, axis]
        out[:, :, to] = pair if sign > 0 else geometry.shape[to] - pair[:, ::-1]
    return out


def to_file(boxes: Boxes, geometry: Geometry) -> npt.NDArray[np.float64]:
    """Convert canonical boxes to a file's axes; the inverse of `to_canonical`."""
    out = np.empty_like(boxes)
    for axis, letter in enumerate(geometry.orientation):
        canonical, sign = _AXES[letter]
        pair = boxes[:, :, canonical]
        out[:, :, axis] = pair if sign > 0 else geometry.shape[canonical] - pair[:, ::-1]
    return out


def box_of(masks: npt.NDArray[np.bool_]) -> Boxes:
    """Return the half-open bounding box of each mask (K, D, H, W); NaN for an empty mask."""
    boxes = np.full((len(masks), 2, 3), np.nan)
    for box, mask in zip(boxes, masks, strict=True):
        if mask.any():
            for axis in range(3):
                hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
                box[:, axis] = hit[0], hit[-1] + 1
    return boxes


def in_crop(boxes: Boxes, view: View, crop: Triple) -> Boxes:
    """Convert canonical boxes to voxels of a crop, with its flips."""
    moved = boxes - np.array(view.origin)
    for axis, flipped in enumerate(view.flips):
        if flipped:
            moved[:, :, axis] = crop[axis] - moved[:, ::-1, axis]
    return np.asarray(moved)


def centroid_mm(boxes: npt.NDArray[np.float64], affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the centre of each box (K, 2, 3) in world coordinates, given the affine of the boxes' axes.

    An affine maps index 0 to the centre of voxel 0, which is half a voxel from its face.
    """
    matrix = np.asarray(affine, np.float64)
    return np.asarray((boxes.mean(1) - 0.5) @ matrix[:3, :3].T + matrix[:3, 3])
