"""Compute offsets and strides of raw voxels, in packed boxes of a batch and in cached volumes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.plan import window
from dali_cr.plan.plans import Plans
from dali_cr.read.gpu_cache import Arena, Upload, frame_bytes, padded
from dali_cr.volume.geometry import Triple

Ints = npt.NDArray[np.int64]

ABSENT = -1
"""Offset of a volume that is not in the arena, or not in the rows of a batch."""


class Placement:
    """Memory layout of the volumes of an index, as arrays.

    Parameters
    ----------
    index : Index
    """

    def __init__(self, index: Index) -> None:
        volumes = [[volume.geometry for volume in case.volumes] for case in index.cases]
        self._strides = np.array([[g.strides for g in row] for row in volumes], np.int64)
        self._itemsizes = np.array([[g.itemsize for g in row] for row in volumes], np.int64)
        self._bases = np.array([[g.base for g in row] for row in volumes], np.int64) * self._itemsizes
        # Axes in the order of the file, the slowest first.
        self._order = np.argsort(-np.abs(self._strides), axis=2, kind="stable")

    def of(self, cases: Ints) -> tuple[int, int]:
        """Return the shape (B, C) of offsets."""
        return len(cases), self._bases.shape[1]

    def whole(self, cases: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        """Return the offsets of canonical voxel (0, 0, 0) and the strides of whole volumes.

        Parameters
        ----------
        cases : (B,) int64
        offsets : (B, C) int64
            Byte offset of each volume.

        Returns
        -------
        firsts : (B, C) int64
        strides : (B, C, 3) int64
        """
        return offsets + self._bases[cases], self._strides[cases]

    def boxes(self, cases: Ints, boxes: Ints, starts: Ints) -> tuple[Ints, Ints]:
        """Return the virtual offsets of canonical voxel (0, 0, 0) and the strides of volumes with only a box in memory.

        Parameters
        ----------
        cases : (B,) int64
        boxes : (B, 2, 3) int64
        starts : (B, C) int64
            Byte offset of each packed box.

        Returns
        -------
        firsts : (B, C) int64
        strides : (B, C, 3) int64
        """
        order, backward = self._order[cases], self._strides[cases] < 0
        extents = np.broadcast_to((boxes[:, 1] - boxes[:, 0])[:, None], order.shape)
        inner = np.take_along_axis(extents, order, 2)
        steps = np.stack([inner[..., 1] * inner[..., 2], inner[..., 2], np.ones_like(inner[..., 2])], axis=-1)
        strides = np.empty_like(steps)
        np.put_along_axis(strides, order, steps, 2)
        first = (strides * (extents - 1) * backward).sum(2)
        strides = np.where(backward, -strides, strides)
        first -= (strides * boxes[:, None, 0]).sum(2)
        return starts + first * self._itemsizes[cases], strides


def pack(raw: npt.NDArray[Any], row: npt.NDArray[np.uint8]) -> None:
    """Copy raw voxels (d, h, w) to the start of a row, in the order of their file."""
    order = sorted(range(3), key=lambda axis: -abs(raw.strides[axis]))
    forward = raw.transpose(order)[tuple(slice(None, None, -1 if raw.strides[a] < 0 else 1) for a in order)]
    row[: raw.nbytes].view(raw.dtype).reshape(forward.shape)[...] = forward


def assign_rows(
    plans: Plans, index: Index, arena: Arena | None, cached: Ints
) -> tuple[Ints, dict[tuple[int, int], Upload], int]:
    """Assign an offset in the sample's row of a batch to each channel that is not in the arena.

    Parameters
    ----------
    plans : Plans
    index : Index
    arena : Arena, optional
    cached : (B, C) int64
        Offset of each volume in the arena, or `ABSENT`. Updated for volumes that the batch copies there, because they
        are decoded from there.

    Returns
    -------
    starts : (B, C) int64
        `ABSENT` for volumes that are not in the batch.
    uploads : dict
        Volumes that the batch copies into the arena, by (sample, channel).
    longest : int
        Size of a row in bytes.
    """
    starts, uploads = np.full(cached.shape, ABSENT, np.int64), dict[tuple[int, int], Upload]()
    longest, ends = padded(1), dict[int, int]()
    for i, c in np.argwhere(cached == ABSENT).tolist():
        case = int(plans.cases[i])
        geometry = index.cases[case].volumes[c].geometry
        starts[i, c] = start = ends.get(i, 0)
        slot = arena.reserve(case, c) if arena else None
        if slot:
            cached[i, c] = slot[1]
            uploads[i, c] = Upload(slot[0], i, start, slot[1], geometry.voxels * geometry.itemsize)
            size = frame_bytes(geometry)
        else:
            size = padded(box_bytes(*window.as_box(plans.boxes[i]), geometry.itemsize))
        ends[i] = start + size
        longest = max(longest, ends[i])
    return starts, uploads, longest


def box_bytes(start: Triple, stop: Triple, itemsize: int) -> int:
    """Return the size of the voxels of a box in bytes."""
    return itemsize * math.prod(b - a for a, b in zip(start, stop, strict=True))
