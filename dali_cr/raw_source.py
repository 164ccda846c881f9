"""Batches that a GPU finishes: a thread inflates, and copies the crop's box, raw, into the batch.

Where the GPU keeps volumes, the first batch that reads a volume brings the whole of it, and later ones bring nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr import crop
from dali_cr.arena import Arena, Upload, frame_bytes, key_of, padded
from dali_cr.geometry import Triple
from dali_cr.index import Volume
from dali_cr.normalize import affine_map
from dali_cr.ops.decode import RECORD_WORDS, make_record
from dali_cr.plan import SamplePlan, View
from dali_cr.source import Arrays, Batch, BrokenCaseError, Memory, Source, numbers_of, take


@dataclass(frozen=True)
class Place:
    """Where one channel's raw voxels are for the kernel.

    Attributes
    ----------
    start : int
        Byte in the sample's row; without a meaning where the volume is in the arena.
    offset : int or None
        Byte in the arena, where the volume is or will be there.
    upload : bool
        Whether this batch brings the whole volume into the arena.
    """

    start: int
    offset: int | None = None
    upload: bool = False


@dataclass
class RawBatch(Batch):
    """A batch whose voxels are still raw; `places` says for each sample where each channel's are."""

    places: list[list[Place]] = field(default_factory=list)


class RawSource(Source[RawBatch]):
    """Batches for a GPU.

    raw (B, bytes) uint8, records (B, C, 16) int64, swaps (B, T, 3, 3) int32, sample (B,) int64.

    Parameters
    ----------
    *args, **options
        Of `Source`.
    arena : Arena, optional
        Where the GPU keeps volumes.
    """

    def __init__(self, *args: Any, arena: Arena | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.arena = arena

    def blank(self) -> Arrays:
        """Return records without a window, and swaps that move nothing."""
        records = np.zeros((1, self.channels, RECORD_WORDS), np.int64)
        swaps = np.zeros((1, self.planner.recipe.swap.iterations, 3, 3), np.int32)
        swaps[..., 2, :] = 1
        self._announce([])
        return np.zeros((1, padded(1)), np.uint8), records, swaps, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], memory: Memory) -> RawBatch:
        places = []
        longest = padded(1)
        for plan in plans:
            row, size = self._place(plan)
            places.append(row)
            longest = max(longest, size)
        raw = take(memory, 0, (len(plans), longest), np.dtype(np.uint8))
        records = np.zeros((len(plans), self.channels, RECORD_WORDS), np.int64)
        swaps = np.stack([plan.views[0].swaps for plan in plans])
        return RawBatch(plans, (raw, records, swaps, numbers_of(plans)), places=places)

    def _place(self, plan: SamplePlan) -> tuple[list[Place], int]:
        """Decide where each channel of a sample goes; return that and the bytes its row needs."""
        places, end = [], 0
        for volume in self.case_of(plan).volumes:
            offset = self.arena.locate(volume) if self.arena else None
            if offset is not None:
                places.append(Place(0, offset))
                continue
            offset = self.arena.reserve(volume) if self.arena else None
            places.append(Place(end, offset, offset is not None))
            end += self._box_bytes(volume, plan.views[0]) if offset is None else frame_bytes(volume.geometry)
        return places, end

    def _box_bytes(self, volume: Volume, view: View) -> int:
        """Return the bytes of a volume's box, padded."""
        start, stop = crop.box(view, self.planner.recipe.crop, volume.shape)
        size = volume.geometry.numpy_dtype.itemsize
        for a, b in zip(start, stop, strict=True):
            size *= b - a
        return padded(size)

    def _finish(self, batch: RawBatch) -> Arrays:
        try:
            arrays = super()._finish(batch)
        except BrokenCaseError:
            self._release(batch)
            raise
        self._announce(
            [
                Upload(key_of(volume), i, place.start, place.offset, volume.geometry.voxels * volume.geometry.itemsize)
                for i, (plan, places) in enumerate(zip(batch.plans, batch.places, strict=True))
                for volume, place in zip(self.case_of(plan).volumes, places, strict=True)
                if place.upload and place.offset is not None
            ]
        )
        return arrays

    def _announce(self, uploads: list[Upload]) -> None:
        if self.arena:
            self.arena.announce(uploads)

    def _release(self, batch: RawBatch) -> None:
        """Give back the places in the arena that the batch would have filled."""
        for plan, places in zip(batch.plans, batch.places, strict=True):
            pairs = zip(self.case_of(plan).volumes, places, strict=True)
            if self.arena:
                self.arena.release([volume for volume, place in pairs if place.upload])

    def _fill(self, batch: RawBatch, group: list[int]) -> None:
        case, edges = self.case_of(batch.plans[group[0]]), self.planner.recipe.crop
        raw, records = batch.arrays[:2]
        waiting = {c for i in group for c, place in enumerate(batch.places[i]) if place.offset is None or place.upload}
        whole = any(place.upload for i in group for place in batch.places[i])
        views = {i: batch.plans[i].views[0] for i in group}
        start, stop = ((0, 0, 0), case.shape) if whole else crop.union(views.values(), edges, case.shape)
        for channel, volume, box in self.boxes(case, start, stop, waiting):
            for i, view in views.items():
                place = batch.places[i][channel]
                if place.upload:
                    crop.pack(box, raw[i, place.start :])
                elif place.offset is None:
                    part = box[crop.slices(view, edges, case.shape, start)]
                    packed, order = crop.pack(part, raw[i, place.start :])
                    records[i, channel] = self._box_record(volume, view, part, packed, order, place.start)
        for i, view in views.items():
            for channel, (volume, place) in enumerate(zip(case.volumes, batch.places[i], strict=True)):
                if place.offset is not None:
                    records[i, channel] = self._resident_record(volume, view, place.offset)

    def _resident_record(self, volume: Volume, view: View, offset: int) -> npt.NDArray[np.int64]:
        """Return the record of a crop of a volume that lies in the arena as it lies in its file."""
        geometry = volume.geometry
        return self._record(volume, view, offset + geometry.base * geometry.itemsize, geometry.strides, in_arena=True)

    def _box_record(
        self, volume: Volume, view: View, raw: npt.NDArray[Any], packed: npt.NDArray[Any], order: list[int], first: int
    ) -> npt.NDArray[np.int64]:
        """Return the record of a box packed in file order at byte `first` of its row."""
        size, strides, start = raw.dtype.itemsize, [0, 0, 0], crop.box(view, self.planner.recipe.crop, volume.shape)[0]
        for place, axis in enumerate(order):
            step = packed.strides[place] // size
            strides[axis] = -step if raw.strides[axis] < 0 else step
            first += size * step * (raw.shape[axis] - 1) if raw.strides[axis] < 0 else 0
        first -= size * sum(s * a for s, a in zip(strides, start, strict=True))
        return self._record(volume, view, first, (strides[0], strides[1], strides[2]))

    def _record(
        self, volume: Volume, view: View, first: int, strides: Triple, *, in_arena: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return the record of a volume whose canonical voxel (0, 0, 0) lies at byte `first`."""
        return make_record(
            dtype=volume.dtype,
            big_endian=volume.geometry.big_endian,
            first_byte=first,
            itemsize=volume.geometry.itemsize,
            strides=strides,
            origin=view.origin,
            flips=view.flips,
            crop=self.planner.recipe.crop,
            shape=volume.shape,
            affine=affine_map(volume, self.planner.recipe.normalize),
            in_arena=in_arena,
        )
