"""Plain loop in threads: nibabel reads; NumPy crops, normalises and swaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from benchmarks.contenders.feed import Arrays, Feed, endless, in_threads
from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.workload import Triple, intensity


class Plain(Feed):
    """The plain loop, on volumes in file order (x, y, z); files must be canonical, as none are reoriented."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield batches, each made by several threads."""
        cases, size = endless(len(self.index), self.job.seed), self.workload.batch_size
        numbers = count()
        tasks = ([(next(cases), next(numbers)) for _ in range(size)] for _ in iter(int, 1))
        for pairs in in_threads(self.job.workers, self.make_pair, tasks):
            input, target = (np.stack([pair[i] for pair in pairs])[:, None] for i in range(2))
            yield size, self.to_device((input, target))

    def make_pair(self, case: int, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return an input crop and its target, (x, y, z)."""
        rng, volume = np.random.default_rng((self.job.seed, number)), self.index.cases[case].volumes[0]
        image: Any = nib.load(self.index.root / volume.path)
        voxels = np.asanyarray(image.dataobj)
        if voxels.ndim > 3:
            voxels = voxels.reshape(*voxels.shape[:3], -1)[..., volume.frame]
        crop = self.workload.crop[::-1]
        origin = [rng.integers(0, n - c + 1) for n, c in zip(voxels.shape, crop, strict=True)]
        target = voxels[tuple(slice(o, o + c) for o, c in zip(origin, crop, strict=True))].astype(np.float32)
        scale = intensity(volume, self.workload.normalize)
        target -= scale.centre
        target /= scale.width
        np.clip(target, scale.low, scale.high, out=target)
        return swap(target.copy(), self.workload.patch[::-1], self.workload.iterations, rng), target

    def corruption(self) -> Corruption:
        """Return the swap."""
        return lambda volume, trial: swap(
            volume, self.workload.patch, self.workload.iterations, np.random.default_rng(trial)
        )


def swap(
    volume: npt.NDArray[np.float32], patch: Triple, iterations: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Swap pairs of disjoint patches in place; overlapping pairs are drawn again."""
    edges = np.array(patch)
    room = np.array(volume.shape) - edges + 1
    pairs = rng.integers(0, room, (iterations, 2, 3))
    while (overlap := (np.abs(pairs[:, 0] - pairs[:, 1]) < edges).all(-1)).any():
        pairs[overlap] = rng.integers(0, room, (int(overlap.sum()), 2, 3))
    for pair in pairs.tolist():
        first, second = (tuple(slice(o, o + p) for o, p in zip(origin, patch, strict=True)) for origin in pair)
        kept = volume[first].copy()
        volume[first] = volume[second]
        volume[second] = kept
    return volume
