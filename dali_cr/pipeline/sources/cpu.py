"""`FinishedSource`: batches that are finished on the CPU; each thread reads, decompresses and finishes samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dali_cr.pipeline.memory import Buffers, Section
from dali_cr.pipeline.samples import Arrays, Samples
from dali_cr.pipeline.sources.source import Batch, Source
from dali_cr.plan import window
from dali_cr.plan.stream import Stream
from dali_cr.read.boxes import read_boxes


class FinishedSource(Source[Batch]):
    """Batches of finished samples: the input arrays of the network, and sample (B,) int64.

    Parameters
    ----------
    samples : Samples
    stream : Stream
    **options
        Options of `Source`.
    """

    def __init__(self, samples: Samples, stream: Stream, **options: Any) -> None:
        super().__init__(samples, stream, **options)
        self.names = (*samples.names, "sample")
        self._buffers = Buffers()

    def placeholder(self) -> Arrays:
        """Return arrays of zeros."""
        arrays = self._arrays(1)
        for array in arrays.values():
            array[...] = 0
        arrays["sample"][...] = -1
        return arrays

    def prepare(self, numbers: npt.NDArray[np.int64]) -> Batch:
        """Plan a batch and allocate its arrays."""
        batch = Batch(self.planner.plan(numbers, self.broken), self._arrays(len(numbers)))
        batch.arrays["sample"][...] = numbers
        return batch

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Read a case once and make its samples."""
        plans, index = batch.plans, self.samples.templates.index
        case = int(plans.cases[group[0]])
        boxes = {i: window.as_box(plans.boxes[i]) for i in group}
        start, stop = window.around(boxes.values())
        for channel, _, raw in read_boxes(self.cache, index.root, index.cases[case], start, stop):
            rescale = self.samples.templates.rescales[case][channel]
            for i, box in boxes.items():
                self.samples.fill(plans, i, channel, raw[window.slices(box, start)], rescale, batch.arrays)
        for i in group:
            self.samples.complete(plans, i, batch.arrays)

    def _arrays(self, count: int) -> Arrays:
        sections = (*self.samples.outputs(count), Section("sample", (count,), np.int64))
        return self._buffers.lend_arrays(sections)
