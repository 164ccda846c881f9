"""The limit of the cold path: igzip inflating the same files into memory that is used again, and nothing else.

`Whole` inflates every file to its end. `Needed` stops where the loader may stop, at the last row of the crop that the
loader would cut from this file, which is the stricter limit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import count, groupby
from pathlib import Path
from typing import Any

from isal import isal_zlib

from benchmarks.contenders.feed import Arrays, Feed, endless, in_threads
from dali_cr.pipeline.graph import make_samples
from dali_cr.plan import window

_kept = threading.local()


Asked = list[tuple[Path, int]]
"""Files, and how many of their bytes are wanted."""


class Whole(Feed):
    """Files to their ends."""

    def _asked(self) -> Iterator[Asked]:
        """Yield what a batch needs."""
        cases = endless(len(self.index), self.job.seed)
        while True:
            volumes = [self.index.cases[next(cases)].volumes[0] for _ in range(self.workload.batch_size)]
            ends = [volume.geometry.data_offset + volume.geometry.data_bytes for volume in volumes]
            yield [(self.index.root / volume.data, end) for volume, end in zip(volumes, ends, strict=True)]

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield batches of nothing: how many pairs could have been made of the bytes."""
        for _ in in_threads(self.job.workers, inflate, self._asked()):
            yield self.workload.batch_size, ()


class Needed(Whole):
    """Files as far as the loader's crops need them; once for neighbours of one file, as the loader does."""

    def _asked(self) -> Iterator[Asked]:
        """Yield what the loader's own plans need."""
        planner = make_samples(self.index, self.workload.recipe, self.job.seed).planner
        size = self.workload.batch_size
        for first in count(0, size):
            plans, batch = planner.plan(range(first, first + size), swaps=False), []
            for case, group in groupby(range(size), key=lambda i: int(plans.cases[i])):
                volume = self.index.cases[case].volumes[0]
                ends = [volume.geometry.end(volume.frame, *window.as_box(plans.boxes[i])) for i in group]
                batch.append((self.index.root / volume.data, max(ends)))
            yield batch


def inflate(path: Path, stop: int) -> int:
    """Inflate the first `stop` bytes of a file into this thread's memory; return how many there were."""
    with open(path, "rb", buffering=0) as file:
        packed = _memory("packed", os.fstat(file.fileno()).st_size)
        file.readinto(packed)
    if bytes(packed[:2]) != b"\x1f\x8b":
        return len(packed)
    # isal's own stubs know it only as a reader of files.
    inflater: Any = isal_zlib._GzipReader
    reader = inflater(packed)
    target, done = _memory("inflated", stop), 0
    while done < stop:
        got = reader.readinto(target[done:])
        if not got:
            raise EOFError(f"{path}: ends early: {stop} bytes expected, {done} inflated")
        done += got
    return done


def _memory(name: str, size: int) -> memoryview:
    memory = getattr(_kept, name, None)
    if memory is None or len(memory) < size:
        memory = bytearray(size)
        setattr(_kept, name, memory)
    return memoryview(memory)[:size]
