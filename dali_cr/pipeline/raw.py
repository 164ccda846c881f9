"""`RawSource`: batches that a GPU finishes; a thread decompresses, and copies the sample's box, raw, into the batch.

Where the GPU keeps volumes, the first batch that reads a volume brings the whole of it, and later ones bring nothing.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.pipeline.memory import Buffers, Bytes, Section, cut, size_of
from dali_cr.pipeline.placement import Placement, pack
from dali_cr.pipeline.samples import Arrays, Lie, Samples
from dali_cr.pipeline.source import Batch, BrokenCaseError, Source
from dali_cr.plan import window
from dali_cr.plan.plans import Plans
from dali_cr.plan.stream import Stream
from dali_cr.read.boxes import read_boxes
from dali_cr.read.gpu_cache import Arena, Upload, frame_bytes, padded
from dali_cr.read.packed import is_direct, read_box
from dali_cr.volume.geometry import Triple

_MOST_ARRAYS = 65535
"""That a kernel writes in one launch: the y axis of its grid is no longer."""

_IN_ARENA = -1


@dataclass
class Memory:
    """The arrays of a batch.

    Attributes
    ----------
    sections : tuple of Section
    arrays : dict
    buffer : (bytes,) uint8, optional
        Holds all arrays, where a batch is given as a whole.
    """

    sections: tuple[Section, ...]
    arrays: Arrays
    buffer: Bytes | None = None


@dataclass
class RawBatch(Batch):
    """A batch whose voxels are still raw.

    Attributes
    ----------
    memory : Memory
    starts : (B, C) int64
        Byte in the sample's row at which each channel lies; -1 where the arena has it.
    uploads : dict
        By (sample, channel): volumes that this batch brings into the arena.
    """

    memory: Memory
    starts: npt.NDArray[np.int64]
    uploads: dict[tuple[int, int], Upload]


class RawSource(Source[RawBatch]):
    """Batches for a GPU: raw (B, bytes) uint8, what `samples` describes, and sample (B,) int64.

    Parameters
    ----------
    samples : Samples
    stream : Stream
    arena : Arena, optional
        Where the GPU keeps volumes.
    whole : bool
        Give a batch as one buffer, which `finish` takes apart, and not as one array an input.
    allocate : callable, optional
        Takes a number of bytes and returns memory for whole batches, page-locked for a GPU.
    mark : callable, optional
        Returns an object whose `done` says whether the GPU has read what was queued so far.
    **options
        Of `Source`.

    Raises
    ------
    ValueError
        If a batch has more arrays than a kernel can write.
    """

    def __init__(
        self,
        samples: Samples,
        stream: Stream,
        *,
        arena: Arena | None = None,
        whole: bool = False,
        allocate: Callable[[int], Bytes] | None = None,
        mark: Callable[[], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(samples, stream, **options)
        channels = self.planner.index.channels
        most = _MOST_ARRAYS // (channels * samples.arrays)
        if stream.batch_size > most:
            self.close()
            raise ValueError(
                f"batch_size: expected at most {most} on a GPU, of {channels} channels and up to {samples.arrays} "
                f"views of one shape, got {stream.batch_size}"
            )
        self.names = ("buffer",) if whole else ("raw", *samples.inputs, "sample")
        self.arena, self.whole, self._mark = arena, whole, mark
        self._placement = Placement(self.planner.index)
        self._buffers = Buffers(allocate)
        self._sent: deque[tuple[Memory, tuple[Upload, ...]]] = deque()
        self._reading: deque[tuple[Any, Bytes]] = deque()
        self._looking = threading.Lock()  # several threads prepare batches

    def placeholder(self) -> Arrays:
        """Return records without voxels, and numbers that change nothing."""
        memory = self._take(1, padded(1))
        for array in memory.arrays.values():
            array[...] = 0
        self.samples.blank({name: memory.arrays[name] for name in self.samples.inputs if name in memory.arrays})
        memory.arrays["sample"][...] = -1
        return self._send(memory, ())

    def prepare(self, numbers: npt.NDArray[np.int64]) -> RawBatch:
        """Plan a batch, decide where its voxels go, and describe that to the kernels."""
        plans = self.planner.plan(numbers, self.broken, swaps=not self.whole)
        kept = self.arena.locate(plans.cases) if self.arena else np.full(self._placement.of(plans.cases), _IN_ARENA)
        starts, uploads, longest = self._assign(plans, kept)
        memory = self._take(len(plans), longest)
        in_arena = kept != _IN_ARENA
        firsts, strides = self._placement.whole(plans.cases, kept)
        if not in_arena.all():
            own = self._placement.boxes(plans.cases, plans.boxes, starts)
            firsts = np.where(in_arena, firsts, own[0])
            strides = np.where(in_arena[..., None], strides, own[1])
        self.samples.describe(plans, Lie(firsts, strides, in_arena), memory.arrays)
        memory.arrays["sample"][...] = numbers
        return RawBatch(plans, memory.arrays, memory=memory, starts=starts, uploads=uploads)

    def unread(self, batch: RawBatch) -> list[int]:
        """Return the samples of which some channel is not in the arena, or is brought there by this batch."""
        return np.flatnonzero((batch.starts != _IN_ARENA).any(1)).tolist()

    def fill(self, batch: RawBatch, group: list[int]) -> None:
        """Copy the boxes of samples of one case, raw."""
        plans, index, raw = batch.plans, self.planner.index, batch.arrays["raw"]
        case = index.cases[int(plans.cases[group[0]])]
        waiting = {c for i in group for c in range(len(case.volumes)) if batch.starts[i, c] != _IN_ARENA}
        boxes = {i: window.as_box(plans.boxes[i]) for i in group}
        whole = any((i, c) in batch.uploads for i in group for c in waiting)
        start, stop = ((0, 0, 0), case.shape) if whole else window.around(boxes.values())
        # Bricks are decompressed to where they are wanted; a copy would cost half as much again.
        direct = {c for c in waiting if not whole and len(group) == 1 and is_direct(case.volumes[c])}
        for channel in direct:
            i, first = group[0], int(batch.starts[group[0], channel])
            size = box_bytes(start, stop, case.volumes[channel].geometry.itemsize)
            read_box(case.volumes[channel], index.root, start, stop, raw[i, first : first + size])
        for channel, _, read in read_boxes(self.cache, index.root, case, start, stop, waiting - direct):
            for i, box in boxes.items():
                first = int(batch.starts[i, channel])
                if (i, channel) in batch.uploads:
                    pack(read, raw[i, first:])
                elif first != _IN_ARENA:
                    pack(read[window.slices(box, start)], raw[i, first:])

    def deliver(self, batch: RawBatch) -> Arrays:
        """Return what DALI gets of a batch."""
        return self._send(batch.memory, tuple(batch.uploads.values()))

    def make(self, *inputs: Any) -> tuple[Any, ...]:
        """Make a batch on the device from what `deliver` or `placeholder` gave, batch after batch in their order.

        Parameters
        ----------
        *inputs : arrays on the device
            As in `names`, without the sample numbers.

        Returns
        -------
        outputs : tuple of arrays
            As in `samples.names`.
        """
        memory, uploads = self._sent.popleft() if self._remembers else (None, ())
        if self.whole and memory:
            arrays = cut(inputs[0], memory.sections)
        else:
            arrays = dict(zip(self.names, inputs, strict=False))
        if self.arena:
            self.arena.upload(arrays["raw"], uploads)
        outputs = self.samples.finish(arrays, self.arena.memory if self.arena else None)
        if memory and memory.buffer is not None:
            self._reading.append((self._mark() if self._mark else None, memory.buffer))
        return outputs

    @property
    def _remembers(self) -> bool:
        """Whether `make` must know more of a batch than its arrays."""
        return self.whole or self.arena is not None

    def _send(self, memory: Memory, uploads: tuple[Upload, ...]) -> Arrays:
        if self._remembers:
            self._sent.append((memory, uploads))
        if self.whole and memory.buffer is not None:
            return {"buffer": memory.buffer[: size_of(memory.sections)]}
        return memory.arrays

    def _assign(
        self, plans: Plans, kept: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], dict[tuple[int, int], Upload], int]:
        """Decide where in its row each channel goes that the arena does not have.

        A volume that the batch brings into the arena is then read from there, and `kept` says where.

        Returns
        -------
        starts : (B, C) int64
        uploads : dict
        longest : int
            Bytes of a row.
        """
        starts, uploads = np.full(kept.shape, _IN_ARENA, np.int64), dict[tuple[int, int], Upload]()
        longest, ends = padded(1), dict[int, int]()
        for i, c in np.argwhere(kept == _IN_ARENA).tolist():
            case = int(plans.cases[i])
            geometry = self.planner.index.cases[case].volumes[c].geometry
            starts[i, c] = start = ends.get(i, 0)
            slot = self.arena.reserve(case, c) if self.arena else None
            if slot:
                kept[i, c] = slot[1]
                uploads[i, c] = Upload(slot[0], i, start, slot[1], geometry.voxels * geometry.itemsize)
                size = frame_bytes(geometry)
            else:
                size = padded(box_bytes(*window.as_box(plans.boxes[i]), geometry.itemsize))
            ends[i] = start + size
            longest = max(longest, ends[i])
        return starts, uploads, longest

    def _take(self, count: int, longest: int) -> Memory:
        """Return memory for a batch."""
        sections = self.samples.sections(count, swaps=not self.whole)
        sections += Section("sample", (count,), np.int64), Section("raw", (count, longest), np.uint8)
        size = size_of(sections)
        if not self.whole:
            return Memory(sections, cut(self._buffers.lend(size), sections))
        with self._looking:
            while self._reading and (self._reading[0][0] is None or self._reading[0][0].done):
                self._buffers.give(self._reading.popleft()[1])
        buffer = self._buffers.take(size)
        return Memory(sections, cut(buffer, sections), buffer)

    def _finish(self, batch: RawBatch) -> RawBatch:
        try:
            return super()._finish(batch)
        except BrokenCaseError:
            if self.arena:
                self.arena.release(batch.uploads.values())
            if batch.memory.buffer is not None:
                self._buffers.give(batch.memory.buffer)
            raise


def box_bytes(start: Triple, stop: Triple, itemsize: int) -> int:
    """Return the bytes of a box's voxels."""
    return itemsize * math.prod(b - a for a, b in zip(start, stop, strict=True))
