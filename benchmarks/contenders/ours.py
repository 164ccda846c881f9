"""This package: reader threads alone, and the loader without a cache, with each cache, and from a cold disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

import dali_cr
from benchmarks.contenders.feed import Arrays, Feed, Job
from benchmarks.measure import page_cache
from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.volumes import files_of
from dali_cr.pipeline.recipes import make_samples, make_source
from dali_cr.plan.stream import Stream

_ROOM = 1.25
"""Budget of a cache as a multiple of the voxels' bytes, so that all fit."""


class Reader(Feed):
    """Reader threads without DALI: finished pairs on a CPU; raw boxes, records and swaps for a GPU."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield batches from the source that feeds DALI."""
        samples = make_samples(self.index, self.workload.recipe, self.job.seed)
        stream = Stream(self.workload.batch_size)
        source = make_source(samples, stream, self.job.device, threads=max(1, self.job.workers))
        try:
            for k in count():
                arrays = source.batch(k)
                made = tuple(arrays[name] for name in samples.names) if self.job.device == "cpu" else ()
                yield len(arrays["sample"]), made
        finally:
            source.close()

    def corruption(self) -> Corruption:
        """Return the swap."""
        return self._swap

    def _swap(self, volume: npt.NDArray[np.float32], trial: int) -> npt.NDArray[np.float32]:
        swaps = dali_cr.draw_swaps(self.job.seed, trial, volume.shape, self.workload.recipe.swap)
        swapped: npt.NDArray[np.float32] = dali_cr.swap_patches(volume, swaps)
        return swapped


class Loader(Reader):
    """`dali_cr.Loader`, with or without a cache."""

    cache: str | None = None

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        options: dict[str, Any] = {"cache": self._budget(self.cache)} if self.cache else {}
        self._loader = dali_cr.Loader(
            self.index,
            self.workload.recipe,
            batch_size=self.workload.batch_size,
            device=job.device,
            seed=job.seed,
            threads=max(1, job.workers),
            **options,
        )

    def _budget(self, level: str) -> str:
        """Return the option of a cache with room for all voxels."""
        if level == "disk":
            return f"disk:{self.job.scratch}"
        voxels = sum(volume.geometry.data_bytes for case in self.index.cases for volume in case.volumes)
        return f"{level}:{max(1, math.ceil(_ROOM * voxels / 1e9))}GB"

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        for batch in self._loader.stream():
            yield len(batch["sample"]), tuple(array for name, array in batch.items() if name not in ("sample", "case"))

    def report(self) -> dict[str, Any]:
        """Return the content and the hit counts of the caches."""
        if not self.cache:
            return {}
        levels = self._loader.cache_report()
        # A level without a budget reports infinity, which JSON does not have.
        return {
            "cache": {
                level: {name: number if math.isfinite(number) else None for name, number in numbers.items()}
                for level, numbers in levels.items()
            }
        }

    def close(self) -> None:
        """Stop the loader."""
        self._loader.close()


class HostCache(Loader):
    """The loader with raw voxels cached in host memory."""

    cache, fills_cache = "host", True


class DiskCache(Loader):
    """The loader with raw voxels cached in memory-mapped files."""

    cache, fills_cache = "disk", True


class GpuCache(Loader):
    """The loader with raw voxels cached on the GPU."""

    cache, fills_cache = "gpu", True


class ColdDisk(Loader):
    """The loader with its files dropped from the page cache before each batch."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._files = files_of(self.index)
        page_cache.write_back(self._files)

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        for batch in super().batches():
            page_cache.drop(self._files)
            yield batch
