"""Boxes around organs: half-open, in voxels; in the file's own axes (i, j, k) and in canonical ones (D, H, W).

A box [lo, hi) holds the voxels lo to hi - 1. Voxel n fills the space from n to n + 1 in this counting, so that hi - lo
is the box's edge, and a wall times the voxel's size is its place in mm from the corner of the volume.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dali_cr.plan.sample import View
from dali_cr.volume.geometry import Geometry, Triple

from .tables import choose_columns, read_table

Walls = npt.NDArray[np.float64]
"""(K, 2, 3): of each organ, lo and hi along D, H, W; NaN where it is not contoured."""

_AXES = {"R": (2, 1), "L": (2, -1), "A": (1, 1), "P": (1, -1), "S": (0, 1), "I": (0, -1)}
_AXES |= {"X": (2, 1), "Y": (1, 1), "Z": (0, 1)}
"""From the letter of a file's axis to the canonical axis it runs along, and whether forwards; an image has X, Y, Z."""

_CORNERS = {"x0": "box_loi", "y0": "box_loj", "x1": "box_hii", "y1": "box_hij"}
"""What the columns of one box an image are short for."""

_COLUMN = re.compile(r"(.+)_(lo|hi)([ijk])")


def read_boxes(path: Path, wanted: tuple[str, ...]) -> tuple[list[str], dict[str, npt.NDArray[np.float64]]]:
    """Read a CSV file of boxes: columns NAME_loi, NAME_loj, NAME_lok, NAME_hii, NAME_hij, NAME_hik for each organ.

    Parameters
    ----------
    path : Path
        The numbers are voxels along the file's own axes, of an image columns (i) and rows (j); empty where an organ is
        not contoured. Boxes of images may leave NAME_lok and NAME_hik out; where there is one a case, its columns may
        be x0, y0, x1, y1, and its name is then "box".
    wanted : tuple of str
        Organs; all of them if none is given.

    Returns
    -------
    organs : list of str
    boxes : dict of str to (K, 2, 3) float64
        By the case's name in the file; NaN where not contoured.

    Raises
    ------
    ValueError
        Naming the case and the organ of a box that is none.
    """
    columns, rows = read_table(path)
    if set(_CORNERS) <= set(columns):
        columns = [_CORNERS.get(column, column) for column in columns]
        if len(set(columns)) < len(columns):
            raise ValueError(f"labels: expected x0, y0, x1, y1 or a box of the name box, got both in {path}")
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
            f"labels: expected six columns for each organ (of images four), {missing[0]} is missing in {path}"
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


def to_canonical(boxes: npt.NDArray[np.float64], geometry: Geometry) -> Walls:
    """Turn boxes along a file's own axes into canonical ones: (K, 2, 3) each.

    A file stored as LPI runs against all three canonical axes, and its i is W.
    """
    out = np.empty_like(boxes)
    for axis, letter in enumerate(geometry.orientation):
        to, sign = _AXES[letter]
        pair = boxes[:, :, axis]
        out[:, :, to] = pair if sign > 0 else geometry.shape[to] - pair[:, ::-1]
    return out


def to_file(walls: Walls, geometry: Geometry) -> npt.NDArray[np.float64]:
    """Turn canonical boxes into ones along a file's own axes: the inverse of `to_canonical`."""
    out = np.empty_like(walls)
    for axis, letter in enumerate(geometry.orientation):
        come, sign = _AXES[letter]
        pair = walls[:, :, come]
        out[:, :, axis] = pair if sign > 0 else geometry.shape[come] - pair[:, ::-1]
    return out


def box_of(masks: npt.NDArray[np.bool_]) -> Walls:
    """Return the half-open box of each mask (K, D, H, W); NaN for an empty one."""
    walls = np.full((len(masks), 2, 3), np.nan)
    for box, mask in zip(walls, masks, strict=True):
        if mask.any():
            for axis in range(3):
                hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
                box[:, axis] = hit[0], hit[-1] + 1
    return walls


def in_crop(walls: Walls, view: View, crop: Triple) -> Walls:
    """Return canonical boxes as they lie in a crop, after its flips."""
    moved = walls - np.array(view.origin)
    for axis, flipped in enumerate(view.flips):
        if flipped:
            moved[:, :, axis] = crop[axis] - moved[:, ::-1, axis]
    return np.asarray(moved)


def centroid_mm(boxes: npt.NDArray[np.float64], affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the centre of each box (K, 2, 3) in the world, from the affine of the axes it is given in.

    An affine takes voxel 0 to its centre, half a voxel behind its wall.
    """
    matrix = np.asarray(affine, np.float64)
    return np.asarray((boxes.mean(1) - 0.5) @ matrix[:3, :3].T + matrix[:3, 3])
