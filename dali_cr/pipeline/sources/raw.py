"""`RawSource`: batches that are finished on a GPU; threads decompress files and copy raw boxes into the batch.

With a cache on the GPU, the first batch that needs a volume contains the whole volume; later batches contain nothing of
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.pipeline.memory import Bytes, Section, SentBuffers, cut, size_of
from dali_cr.pipeline.samples import Arrays, Samples, VoxelLayout
from dali_cr.pipeline.sources.placement import ABSENT, Placement, assign_rows, box_bytes, pack
from dali_cr.pipeline.sources.source import Batch, Source
from dali_cr.plan import window
from dali_cr.plan.stream import Stream
from dali_cr.read.boxes import read_boxes
from dali_cr.read.gpu_cache import Arena, Upload, padded
from dali_cr.read.packed import is_direct, read_box

_MOST_ARRAYS = 65535
"""Largest number of arrays per launch, the limit of the y axis of a grid."""


@dataclass
class Memory:
    """The arrays of a batch.

    Attributes
    ----------
    sections : tuple of Section
    arrays : dict
    buffer : (bytes,) uint8, optional
        Memory of all arrays, if a batch is passed as a whole.
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
        Byte offset of each channel in the sample's row; -1 if it is in the arena.
    uploads : dict
        Volumes that this batch copies into the arena, by (sample, channel).
    """

    memory: Memory
    starts: npt.NDArray[np.int64]
    uploads: dict[tuple[int, int], Upload]


class RawSource(Source[RawBatch]):
    """Batches for a GPU: raw (B, bytes) uint8, the inputs of `samples`, and sample (B,) int64.

    Parameters
    ----------
    samples : Samples
    stream : Stream
    arena : Arena, optional
        Cache of volumes on the GPU.
    whole : bool
        Pass a batch as one buffer, which `make` divides, instead of one array per input.
    allocate : callable, optional
        Returns memory of a given size for whole batches, page-locked for a GPU.
    mark : callable, optional
        Returns an event whose `done` is true once the GPU has read what was queued before.
    **options
        Options of `Source`.

    Raises
    ------
    ValueError
        If a batch has more arrays than a kernel can write in one launch.
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
        channels = samples.templates.index.channels
        most = _MOST_ARRAYS // (channels * samples.arrays)
        if stream.batch_size > most:
            self.close()
            raise ValueError(
                f"batch_size: expected at most {most} on a GPU with {channels} channels and {samples.arrays} views per "
                f"shape, got {stream.batch_size}"
            )
        self.names = ("buffer",) if whole else ("raw", *samples.inputs, "sample")
        self.arena, self.whole = arena, whole
        self._placement = Placement(samples.templates.index)
        self._buffers = SentBuffers(allocate, mark)
        self._sent: deque[tuple[Memory, tuple[Upload, ...]]] = deque()

    def placeholder(self) -> Arrays:
        """Return records without voxels, and inputs without effect."""
        memory = self._take(1, padded(1))
        for array in memory.arrays.values():
            array[...] = 0
        self.samples.blank({name: memory.arrays[name] for name in self.samples.inputs if name in memory.arrays})
        memory.arrays["sample"][...] = -1
        return self._send(memory, ())

    def prepare(self, numbers: npt.NDArray[np.int64]) -> RawBatch:
        """Plan a batch, assign memory to its voxels, and write the inputs of the kernels."""
        plans = self.planner.plan(numbers, self.broken, swaps=not self.whole)
        cached = self.arena.locate(plans.cases) if self.arena else np.full(self._placement.of(plans.cases), ABSENT)
        starts, uploads, longest = assign_rows(plans, self.samples.templates.index, self.arena, cached)
        memory = self._take(len(plans), longest)
        in_arena = cached != ABSENT
        firsts, strides = self._placement.whole(plans.cases, cached)
        if not in_arena.all():
            packed = self._placement.boxes(plans.cases, plans.boxes, starts)
            firsts = np.where(in_arena, firsts, packed[0])
            strides = np.where(in_arena[..., None], strides, packed[1])
        self.samples.describe(plans, VoxelLayout(firsts, strides, in_arena), memory.arrays)
        memory.arrays["sample"][...] = numbers
        return RawBatch(plans, memory.arrays, memory=memory, starts=starts, uploads=uploads)

    def unread(self, batch: RawBatch) -> list[int]:
        """Return the samples with a channel that is not in the arena, or is copied there by this batch."""
        return np.flatnonzero((batch.starts != ABSENT).any(1)).tolist()

    def fill(self, batch: RawBatch, group: list[int]) -> None:
        """Copy the raw boxes of the samples of one case."""
        plans, index, raw = batch.plans, self.samples.templates.index, batch.arrays["raw"]
        case = index.cases[int(plans.cases[group[0]])]
        missing = {c for i in group for c in range(len(case.volumes)) if batch.starts[i, c] != ABSENT}
        boxes = {i: window.as_box(plans.boxes[i]) for i in group}
        whole = any((i, c) in batch.uploads for i in group for c in missing)
        start, stop = ((0, 0, 0), case.shape) if whole else window.around(boxes.values())
        # Bricks are decompressed directly into the batch; a copy would take 50 % more time.
        direct = {c for c in missing if not whole and len(group) == 1 and is_direct(case.volumes[c])}
        for channel in direct:
            i, first = group[0], int(batch.starts[group[0], channel])
            size = box_bytes(start, stop, case.volumes[channel].geometry.itemsize)
            read_box(case.volumes[channel], index.root, start, stop, raw[i, first : first + size])
        for channel, _, read in read_boxes(self.cache, index.root, case, start, stop, missing - direct):
            for i, box in boxes.items():
                first = int(batch.starts[i, channel])
                if (i, channel) in batch.uploads:
                    pack(read, raw[i, first:])
                elif first != ABSENT:
                    pack(read[window.slices(box, start)], raw[i, first:])

    def deliver(self, batch: RawBatch) -> Arrays:
        """Return the arrays of a batch for DALI."""
        return self._send(batch.memory, tuple(batch.uploads.values()))

    def make(self, *inputs: Any) -> tuple[Any, ...]:
        """Make a batch on the device from the arrays of `deliver` or `placeholder`, in the same order.

        Parameters
        ----------
        *inputs : arrays on the device
            Arrays as in `names`, without the sample numbers.

        Returns
        -------
        outputs : tuple of arrays
            Arrays as in `samples.names`.
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
            self._buffers.sent(memory.buffer)
        return outputs

    @property
    def _remembers(self) -> bool:
        """Whether `make` needs the memory or the uploads of a batch."""
        return self.whole or self.arena is not None

    def _send(self, memory: Memory, uploads: tuple[Upload, ...]) -> Arrays:
        if self._remembers:
            self._sent.append((memory, uploads))
        if self.whole and memory.buffer is not None:
            return {"buffer": memory.buffer[: size_of(memory.sections)]}
        return memory.arrays

    def _take(self, count: int, longest: int) -> Memory:
        """Return uninitialised memory for a batch."""
        sections = self.samples.sections(count, swaps=not self.whole)
        sections += Section("sample", (count,), np.int64), Section("raw", (count, longest), np.uint8)
        if not self.whole:
            return Memory(sections, self._buffers.lend_arrays(sections))
        buffer = self._buffers.take(size_of(sections))
        return Memory(sections, cut(buffer, sections), buffer)

    def discard(self, batch: RawBatch) -> None:
        """Release the batch's slots in the arena and its buffer."""
        if self.arena:
            self.arena.release(batch.uploads.values())
        if batch.memory.buffer is not None:
            self._buffers.give(batch.memory.buffer)
