"""Limit without a cache: igzip decompresses the same files into reused memory, and nothing else is done.

`Whole` decompresses every file to its end. `Needed` stops where the loader stops, at the last row of the crop, which
makes it the stricter limit.
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
from dali_cr.pipeline.recipes import make_samples
from dali_cr.plan import window

_kept = threading.local()


Asked = list[tuple[Path, int]]
"""Files with the number of bytes to decompress."""


class Whole(Feed):
    """Decompresses whole files."""

    def _asked(self) -> Iterator[Asked]:
        """Yield the files of each batch."""
        cases = endless(len(self.index), self.job.seed)
        while True:
            volumes = [self.index.cases[next(cases)].volumes[0] for _ in range(self.workload.batch_size)]
            ends = [volume.geometry.data_offset + volume.geometry.data_bytes for volume in volumes]
            yield [(self.index.root / volume.data, end) for volume, end in zip(volumes, ends, strict=True)]

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the number of pairs of each batch, without arrays."""
        for _ in in_threads(self.job.workers, decompress, self._asked()):
            yield self.workload.batch_size, ()


class Needed(Whole):
    """Decompresses files up to the end of the loader's crops, once for consecutive crops of one file."""

    def _asked(self) -> Iterator[Asked]:
        """Yield the files of each batch according to the loader's plans."""
        planner = make_samples(self.index, self.workload.recipe, self.job.seed).planner
        size = self.workload.batch_size
        for first in count(0, size):
            plans, batch = planner.plan(range(first, first + size), swaps=False), []
            for case, group in groupby(range(size), key=lambda i: int(plans.cases[i])):
                volume = self.index.cases[case].volumes[0]
                ends = [volume.geometry.end(volume.frame, *window.as_box(plans.boxes[i])) for i in group]
                batch.append((self.index.root / volume.data, max(ends)))
            yield batch


def decompress(path: Path, stop: int) -> int:
    """Decompress the first `stop` bytes of a file into this thread's memory; return their number."""
    with open(path, "rb", buffering=0) as file:
        packed = _memory("packed", os.fstat(file.fileno()).st_size)
        file.readinto(packed)
    if bytes(packed[:2]) != b"\x1f\x8b":
        return len(packed)
    # isal's type stubs declare it for files only.
    gzip_reader: Any = isal_zlib._GzipReader
    reader = gzip_reader(packed)
    target, done = _memory("raw", stop), 0
    while done < stop:
        got = reader.readinto(target[done:])
        if not got:
            raise EOFError(f"{path}: expected {stop} bytes, got {done}: the file ends early")
        done += got
    return done


def _memory(name: str, size: int) -> memoryview:
    memory = getattr(_kept, name, None)
    if memory is None or len(memory) < size:
        memory = bytearray(size)
        setattr(_kept, name, memory)
    return memoryview(memory)[:size]
