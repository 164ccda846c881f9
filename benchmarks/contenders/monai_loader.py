"""MONAI: dictionary transforms in a DataLoader's worker processes, with Dataset, CacheDataset or PersistentDataset.

MONAI has no swap; `RandCoarseShuffled`, which shuffles the voxels inside as many holes of the same size, is used
instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai import transforms as mt
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset

from benchmarks.contenders.feed import Arrays, Feed, endless
from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.workload import intensity


class Monai(Feed):
    """MONAI's Dataset, with one endless epoch so that workers are started once."""

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        loader = DataLoader(
            self._dataset(),
            batch_size=self.workload.batch_size,
            sampler=endless(len(self.index), self.job.seed),
            num_workers=self.job.workers,
            pin_memory=self.job.device == "cuda",
        )
        for batch in loader:
            yield len(batch["target"]), self.to_device((batch["input"], batch["target"]))

    def _dataset(self) -> Any:
        return Dataset(self._items(), self._transform())

    def _items(self) -> list[dict[str, Any]]:
        volumes = [case.volumes[0] for case in self.index.cases]
        scales = [intensity(volume, self.workload.normalize) for volume in volumes]
        return [{"target": self.index.root / v.path, "scale": vars(s)} for v, s in zip(volumes, scales, strict=True)]

    def _transform(self) -> Any:
        chain = mt.Compose(
            [
                mt.LoadImaged("target", ensure_channel_first=True, image_only=True),
                mt.RandSpatialCropd("target", self.workload.crop[::-1], random_size=False),
                Scale(),
                mt.CopyItemsd("target", names="input"),
                mt.RandCoarseShuffled(
                    "input", holes=self.workload.iterations, spatial_size=self.workload.patch[::-1], prob=1.0
                ),
            ]
        )
        chain.set_random_state(self.job.seed)
        return chain

    def corruption(self) -> Corruption:
        """Return MONAI's shuffle, in its order of axes."""
        size, holes = self.workload.patch[::-1], self.workload.iterations
        shuffle = mt.RandCoarseShuffle(holes=holes, spatial_size=size, prob=1.0)

        def corrupt(volume: npt.NDArray[np.float32], trial: int) -> npt.NDArray[np.float32]:
            shuffle.set_random_state(trial)
            shuffled = shuffle(torch.from_numpy(volume.transpose(2, 1, 0).copy())[None])
            return np.asarray(shuffled[0]).transpose(2, 1, 0)

        return corrupt


class CachedMonai(Monai):
    """MONAI's CacheDataset: every volume is read once, before the first batch, and kept as float32."""

    def _dataset(self) -> Any:
        threads = len(self.job.cores)
        return CacheDataset(self._items(), self._transform(), cache_rate=1.0, num_workers=threads, progress=False)


class PersistentMonai(Monai):
    """MONAI's PersistentDataset: every volume is a float32 tensor in a file, which is read completely for each crop."""

    fills_cache = True

    def _dataset(self) -> Any:
        return PersistentDataset(self._items(), self._transform(), cache_dir=self.job.scratch)


class Scale(mt.Transform):
    """Normalise with the statistics of the index."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the normalised item, without its statistics."""
        scale = data["scale"]
        normalize = mt.NormalizeIntensity(subtrahend=scale["centre"], divisor=scale["width"])
        target: Any = normalize(data["target"])
        return {"target": target.clamp_(scale["low"], scale["high"])}
