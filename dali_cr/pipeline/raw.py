"""Batches that a GPU finishes: a thread inflates, and copies the crop's box, raw, into the batch.

Where the GPU keeps volumes, the first batch that reads a volume brings the whole of it, and later ones bring nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.volumes import Volume
from dali_cr.ops.decode import RECORD_WORDS, make_record
from dali_cr.ops.gather import RECORD_WORDS as GATHER_WORDS
from dali_cr.ops.gather import make_gather_record
from dali_cr.pipeline.memory import Memory, take
from dali_cr.pipeline.source import Arrays, Batch, BrokenCaseError, Source, numbers_of
from dali_cr.plan import window
from dali_cr.plan.sample import SamplePlan
from dali_cr.read.boxes import read_boxes
from dali_cr.read.gpu_cache import Arena, Upload, frame_bytes, key_of, padded
from dali_cr.read.normalize import affine_map
from dali_cr.volume.geometry import Triple
from dali_cr.volume.grid import crop_map

_MOST_ARRAYS = 65535
"""That a kernel writes in one launch: the y axis of its grid is no longer."""


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

    raw (B, bytes) uint8, records (B, C, 16) int64 (with a spacing (B, C, 32), for `gather_crops`), swaps (B, T, 3, 3)
    int32, sample (B,) int64.

    Parameters
    ----------
    *args, **options
        Of `Source`.
    arena : Arena, optional
        Where the GPU keeps volumes.

    Raises
    ------
    ValueError
        If a batch has more arrays than a kernel can write.
    """

    names: tuple[str, ...] = ("input", "target")
    arrays = 4

    def __init__(self, *args: Any, arena: Arena | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        most = _MOST_ARRAYS // (self.channels * self._views)
        if self.stream.batch_size > most:
            self.close()
            raise ValueError(
                f"batch_size: wanted at most {most} on a GPU, of {self.channels} channels and up to {self._views} "
                f"views of one shape, got {self.stream.batch_size}"
            )
        self.arena = arena
        self._words = GATHER_WORDS if self.planner.recipe.spacing else RECORD_WORDS

    @property
    def _views(self) -> int:
        """Views of a sample that are made in one launch."""
        return 1

    def blank(self) -> Arrays:
        """Return records without a window, and swaps that move nothing."""
        records = np.zeros((1, self.channels, self._words), np.int64)
        swaps = np.zeros((1, self.planner.recipe.swap.iterations, 3, 3), np.int32)
        swaps[..., 2, :] = 1
        self._announce([])
        return np.zeros((1, padded(1)), np.uint8), records, swaps, np.full(1, -1)

    def _allocate(self, plans: list[SamplePlan], kept: Memory) -> RawBatch:
        places = []
        longest = padded(1)
        for plan in plans:
            row, size = self._place(plan)
            places.append(row)
            longest = max(longest, size)
        raw = take(kept, 0, (len(plans), longest), np.dtype(np.uint8))
        return RawBatch(plans, (raw, *self._numbers(plans), numbers_of(plans)), places=places)

    def _numbers(self, plans: list[SamplePlan]) -> Arrays:
        """Return what goes to the GPU beside the raw voxels: records yet to be written, and what was drawn."""
        records = np.zeros((len(plans), self.channels, self._words), np.int64)
        return records, np.stack([plan.views[0].swaps for plan in plans])

    def _box(self, plan: SamplePlan) -> tuple[Triple, Triple]:
        """Return the canonical box [start, stop) of the volume that a sample needs."""
        case, recipe = self.case_of(plan), self.planner.recipe
        return window.reach(plan.views[0], recipe.crop, case.shape, window.shape_at(case, recipe.spacing))

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
            end += _box_bytes(volume, *self._box(plan)) if offset is None else frame_bytes(volume.geometry)
        return places, end

    def _finish(self, batch: RawBatch) -> RawBatch:
        try:
            super()._finish(batch)
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
        return batch

    def _announce(self, uploads: list[Upload]) -> None:
        if self.arena:
            self.arena.announce(uploads)

    def _release(self, batch: RawBatch) -> None:
        """Give back the places in the arena that the batch would have filled."""
        for plan, places in zip(batch.plans, batch.places, strict=True):
            pairs = zip(self.case_of(plan).volumes, places, strict=True)
            if self.arena:
                self.arena.release([volume for volume, place in pairs if place.upload])

    def fill(self, batch: RawBatch, group: list[int]) -> None:
        """Copy the boxes of samples of one case, raw."""
        case, raw = self.case_of(batch.plans[group[0]]), batch.arrays[0]
        waiting = {c for i in group for c, place in enumerate(batch.places[i]) if place.offset is None or place.upload}
        whole = any(place.upload for i in group for place in batch.places[i])
        boxes = {i: self._box(batch.plans[i]) for i in group}
        start, stop = ((0, 0, 0), case.shape) if whole else window.around(boxes.values())
        for channel, _, read in read_boxes(self.cache, self.planner.index.root, case, start, stop, waiting):
            for i, box in boxes.items():
                place = batch.places[i][channel]
                if place.upload:
                    _pack(read, raw[i, place.start :])
                elif place.offset is None:
                    part = read[window.slices(box, start)]
                    packed, order = _pack(part, raw[i, place.start :])
                    first, strides = _unpacked(part, packed, order, place.start, box[0])
                    self._record(batch, i, channel, first, strides, box)
        for i in group:
            for channel, (volume, place) in enumerate(zip(case.volumes, batch.places[i], strict=True)):
                if place.offset is not None:
                    geometry = volume.geometry
                    first = place.offset + geometry.base * geometry.itemsize
                    self._record(batch, i, channel, first, geometry.strides, ((0, 0, 0), case.shape), in_arena=True)

    def _record(
        self,
        batch: RawBatch,
        i: int,
        channel: int,
        first: int,
        strides: Triple,
        box: tuple[Triple, Triple],
        *,
        in_arena: bool = False,
    ) -> None:
        """Write the record of one channel, whose canonical voxel (0, 0, 0) lies, or would lie, at byte `first`.

        Of the volume, `box` is there.
        """
        plan, recipe = batch.plans[i], self.planner.recipe
        case, view = self.case_of(plan), plan.views[0]
        volume = case.volumes[channel]
        lies: dict[str, Any] = {
            "dtype": volume.dtype,
            "big_endian": volume.geometry.big_endian,
            "first_byte": first,
            "itemsize": volume.geometry.itemsize,
            "strides": strides,
            "affine": affine_map(volume, recipe.normalize),
            "in_arena": in_arena,
        }
        if recipe.spacing:
            there = window.shape_at(case, self.planner.recipe.spacing)
            matrix, offset = crop_map(view.origin, view.flips, recipe.crop, volume.shape, there)
            record = make_gather_record(lo=box[0], hi=box[1], matrix=matrix, offset=offset, held=True, **lies)
        else:
            record = make_record(origin=view.origin, flips=view.flips, crop=recipe.crop, shape=volume.shape, **lies)
        batch.arrays[1][i, channel] = record


def _box_bytes(volume: Volume, start: Triple, stop: Triple) -> int:
    """Return the bytes of a volume's box, padded."""
    size = volume.geometry.numpy_dtype.itemsize
    for a, b in zip(start, stop, strict=True):
        size *= b - a
    return padded(size)


def _pack(raw: npt.NDArray[Any], row: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], list[int]]:
    """Copy raw voxels to the front of a row in the order of their file; return the copy and the order of the axes."""
    order = sorted(range(3), key=lambda axis: -abs(raw.strides[axis]))
    forward = raw.transpose(order)[tuple(slice(None, None, -1 if raw.strides[a] < 0 else 1) for a in order)]
    packed = row[: raw.nbytes].view(raw.dtype).reshape(forward.shape)
    packed[...] = forward
    return packed, order


def _unpacked(
    raw: npt.NDArray[Any], packed: npt.NDArray[Any], order: list[int], first: int, start: Triple
) -> tuple[int, Triple]:
    """Return where canonical voxel (0, 0, 0) would lie, and the canonical strides, of a box packed in file order.

    Parameters
    ----------
    raw : (D, H, W)
        The box as it was read.
    packed : array
        The same, packed from byte `first` of its row on.
    order : list of int
        Of the canonical axes in `packed`.
    first : int
    start : (3,) int
        The box's place in the volume.
    """
    size, strides = raw.dtype.itemsize, [0, 0, 0]
    for place, axis in enumerate(order):
        step = packed.strides[place] // size
        strides[axis] = -step if raw.strides[axis] < 0 else step
        first += size * step * (raw.shape[axis] - 1) if raw.strides[axis] < 0 else 0
    first -= size * sum(s * a for s, a in zip(strides, start, strict=True))
    return first, (strides[0], strides[1], strides[2])
