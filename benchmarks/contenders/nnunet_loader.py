"""nnU-Net's reading: preprocessed float32 volumes in Blosc2 files, of which only a crop's blocks are inflated.

Files are mapped and opened anew for each crop with the options of `nnUNetDatasetBlosc2`. Labels, which it reads too,
are spared. The swap is NumPy's, in a DataLoader's worker processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import blosc2
import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch.utils.data import DataLoader, Dataset

from benchmarks.contenders.feed import Arrays, endless
from benchmarks.contenders.numpy_loop import Plain, swap
from benchmarks.workloads.copies import name_of


class NnUNet(Plain):
    """One endless epoch, so that workers are started once."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        loader = DataLoader(
            _Crops(self),
            batch_size=self.workload.batch_size,
            sampler=endless(len(self.index), self.job.seed),
            num_workers=self.job.workers,
            pin_memory=self.job.device == "cuda",
        )
        for input, target in loader:
            yield len(target), self.to_device((input, target))


class _Crops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs by number of the case, (D, H, W) as the files have it."""

    def __init__(self, feed: NnUNet) -> None:
        self._workload, index = feed.workload, feed.index
        self._paths = [str(index.root / name_of(case.volumes[0])) for case in index.cases]
        # It sets Blosc2's threads to one; its list of cases is not asked for.
        options: dict[str, Any] = nnUNetDatasetBlosc2(str(index.root), []).mmap_kwargs
        self._options = {"mode": "r", "dparams": {"nthreads": 1}, **options}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, case: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an input crop and its target, (1, D, H, W)."""
        # torch gives each worker a seed of its own, and NumPy's generator takes it from there.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        data = blosc2.open(urlpath=self._paths[case], **self._options)
        crop = self._workload.crop
        origin = [int(rng.integers(0, n - c + 1)) for n, c in zip(data.shape[1:], crop, strict=True)]
        target = data[(0, *(slice(o, o + c) for o, c in zip(origin, crop, strict=True)))]
        input = swap(target.copy(), self._workload.patch, self._workload.iterations, rng)
        return torch.from_numpy(input)[None], torch.from_numpy(target)[None]
