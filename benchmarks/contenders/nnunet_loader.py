"""nnU-Net's data loading: preprocessed float32 volumes in Blosc2 files, of which only a crop's blocks are decompressed.

Files are memory-mapped and opened for each crop with the options of `nnUNetDatasetBlosc2`. Labels are not read. Threads
and the swap are those of the plain loop, since worker processes, as nnU-Net uses, took more CPU time.
"""

from __future__ import annotations

from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from benchmarks.contenders.feed import Job
from benchmarks.contenders.numpy_loop import Plain, swap
from benchmarks.workloads.copies import name_of


class NnUNet(Plain):
    """nnU-Net's Blosc2 files, whose volumes are (D, H, W)."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # The constructor sets Blosc2's threads to one; its list of cases is not used.
        options: dict[str, Any] = nnUNetDatasetBlosc2(str(self.index.root), []).mmap_kwargs
        self._options = {"mode": "r", "dparams": {"nthreads": 1}, **options}

    def make_pair(self, case: int, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return an input crop and its target, (D, H, W)."""
        rng, crop = np.random.default_rng((self.job.seed, number)), self.workload.crop
        path = self.index.root / name_of(self.index.cases[case].volumes[0])
        data = blosc2.open(urlpath=str(path), **self._options)
        origin = [int(rng.integers(0, n - c + 1)) for n, c in zip(data.shape[1:], crop, strict=True)]
        target = data[(0, *(slice(o, o + c) for o, c in zip(origin, crop, strict=True)))]
        return swap(target.copy(), self.workload.patch, self.workload.iterations, rng), target
