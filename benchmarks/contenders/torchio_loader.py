"""TorchIO: Subject, uniform crop, normalisation and `RandomSwap` in a DataLoader's worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch.utils.data import DataLoader, Dataset

from benchmarks.contenders.feed import Arrays, Feed, endless
from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.workload import Intensity, Workload, intensity
from dali_cr.index.cases import Index


class TorchIO(Feed):
    """TorchIO, with one endless epoch so that workers are started once."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        torch.manual_seed(self.job.seed)
        loader = DataLoader(
            Pairs(self.index, self.workload),
            batch_size=self.workload.batch_size,
            sampler=endless(len(self.index), self.job.seed),
            num_workers=self.job.workers,
            pin_memory=self.job.device == "cuda",
        )
        for input, target in loader:
            yield len(target), self.to_device((input, target))

    def corruption(self) -> Corruption:
        """Return `RandomSwap` on one image, in TorchIO's order of axes."""
        swap = random_swap(self.workload)

        def corrupt(volume: npt.NDArray[np.float32], trial: int) -> npt.NDArray[np.float32]:
            torch.manual_seed(trial)
            tensor = torch.from_numpy(volume.transpose(2, 1, 0).copy())[None]
            swapped: npt.NDArray[np.float32] = swap(tio.ScalarImage(tensor=tensor)).data[0].numpy().transpose(2, 1, 0)
            return swapped

        return corrupt


def random_swap(workload: Workload) -> Any:
    """Return TorchIO's swap with the workload's patch size and iterations."""
    return tio.RandomSwap(patch_size=workload.patch[::-1], num_iterations=workload.iterations)


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Dataset of pairs: sample i is a crop of volume i."""

    def __init__(self, index: Index, workload: Workload) -> None:
        self._index, self._workload = index, workload
        self._crop, self._swap = tio.UniformSampler(workload.crop[::-1]), random_swap(workload)

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self._index)

    def __getitem__(self, case: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an input crop and its target."""
        volume = self._index.cases[case].volumes[0]
        subject = tio.Subject(image=tio.ScalarImage(self._index.root / volume.path))
        patch = next(self._crop(subject, 1))
        scale = partial(normalize, scale=intensity(volume, self._workload.normalize))
        target = tio.Lambda(scale, types_to_apply=[tio.INTENSITY])(patch)
        return self._swap(target).image.data, target.image.data


def normalize(tensor: torch.Tensor, scale: Intensity) -> torch.Tensor:
    """Normalise voxels as `ZNormalization` does, with the statistics of the index."""
    return ((tensor.float() - scale.centre) / scale.width).clamp_(scale.low, scale.high)
