"""2-D images: Pillow alone as the limit, and a PyTorch DataLoader with Pillow and NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.contenders.feed import Arrays, Feed, endless, in_threads
from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.workload import Edges, intensity


class Decode(Feed):
    """Decodes whole images with Pillow and does nothing else."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the number of pairs of each batch, without arrays."""
        cases, size = endless(len(self.index), self.job.seed), self.workload.batch_size
        tasks = ([(next(cases),) for _ in range(size)] for _ in iter(int, 1))
        for _ in in_threads(self.job.workers, self._decode, tasks):
            yield size, ()

    def _decode(self, case: int) -> int:
        with Image.open(self.index.root / self.index.cases[case].volumes[0].path) as picture:
            return len(np.asarray(picture))


class PilLoader(Feed):
    """Pillow decodes, NumPy crops, normalises and swaps, in a DataLoader's worker processes."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        loader = DataLoader(
            _Pictures(self),
            batch_size=self.workload.batch_size,
            sampler=endless(len(self.index), self.job.seed),
            num_workers=self.job.workers,
            pin_memory=self.job.device == "cuda",
        )
        for input, target in loader:
            yield len(target), self.to_device((input, target))

    def corruption(self) -> Corruption:
        """Return the swap."""

        def corrupt(volume: npt.NDArray[np.float32], trial: int) -> npt.NDArray[np.float32]:
            edges = self.workload.recipe.swap.edges(self.workload.crop)[1:]
            return swap(volume[0], edges, self.workload.iterations, np.random.default_rng(trial))[None]

        return corrupt


class _Pictures(Dataset[tuple[Any, Any]]):
    """Dataset of pairs, indexed by case."""

    def __init__(self, feed: PilLoader) -> None:
        workload, volumes = feed.workload, [case.volumes[0] for case in feed.index.cases]
        self._paths = [feed.index.root / volume.path for volume in volumes]
        self._scales = [intensity(volume, workload.normalize) for volume in volumes]
        self._crop, self._iterations = workload.crop[1:], workload.iterations
        self._edges = workload.recipe.swap.edges(workload.crop)[1:]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, case: int) -> tuple[Any, Any]:
        """Return an input crop and its target, (1, 1, H, W)."""
        # PyTorch seeds each worker differently, and NumPy's generator is seeded from PyTorch's.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        with Image.open(self._paths[case]) as picture:
            pixels = np.asarray(picture)
        row, column = (rng.integers(0, n - c + 1) for n, c in zip(pixels.shape, self._crop, strict=True))
        target = pixels[row : row + self._crop[0], column : column + self._crop[1]].astype(np.float32)
        scale = self._scales[case]
        target -= scale.centre
        target /= scale.width
        np.clip(target, scale.low, scale.high, out=target)
        input = swap(target.copy(), self._edges, self._iterations, rng)
        return torch.from_numpy(input)[None, None], torch.from_numpy(target)[None, None]


def swap(
    picture: npt.NDArray[np.float32], edges: tuple[Edges, ...], iterations: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Swap pairs of disjoint patches with sizes within `edges` in place; overlapping pairs are drawn again."""
    sizes = np.stack([rng.integers(low, high + 1, iterations) for low, high in edges], axis=-1)
    room = np.array(picture.shape) - sizes + 1
    first, second = rng.integers(0, room), rng.integers(0, room)
    while (overlap := (np.abs(first - second) < sizes).all(-1)).any():
        first[overlap], second[overlap] = (rng.integers(0, room[overlap]) for _ in range(2))
    for (ay, ax), (by, bx), (height, width) in zip(first.tolist(), second.tolist(), sizes.tolist(), strict=True):
        one, other = picture[ay : ay + height, ax : ax + width], picture[by : by + height, bx : bx + width]
        kept = one.copy()
        one[...] = other
        other[...] = kept
    return picture
