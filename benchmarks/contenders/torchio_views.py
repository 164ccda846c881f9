"""TorchIO on PCRLv2's views: the transforms of the authors' code in a DataLoader's worker processes.

Normalised volumes are kept in memory, so that samples need no reading, and the row is compared with our cached rows.
Boxes are drawn by our planner and resized trilinearly by PyTorch; the authors resize offline.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
import torchio as tio
from torch.nn.functional import interpolate, pad
from torch.utils.data import DataLoader, Dataset

import dali_cr
from benchmarks.contenders.feed import Arrays, Job
from benchmarks.contenders.torchio_loader import TorchIO, normalize
from benchmarks.workloads.workload import Workload, intensity
from dali_cr.index.cases import Index
from dali_cr.plan.sample import AffineView, views_of
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.recipe.views import GLOBALS, Views


class TorchIOViews(TorchIO):
    """Two global views with their targets, and local views."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._samples = Samples(self.index, self.workload, job.seed)

    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the loader's batches."""
        loader = DataLoader(
            self._samples,
            batch_size=self.workload.batch_size,
            sampler=count(),
            num_workers=self.job.workers,
            pin_memory=self.job.device == "cuda",
        )
        for arrays in loader:
            yield len(arrays[0]), self.to_device(tuple(arrays))


class Samples(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Dataset of views: sample i has the case and boxes of our sample i, with transforms drawn by TorchIO."""

    def __init__(self, index: Index, workload: Workload, seed: int) -> None:
        recipe = workload.recipe
        if not isinstance(recipe, Views):
            raise ValueError(f"workload: expected views, got {workload.name}")
        self._planner = ViewPlanner(index, recipe, seed)
        # (x, y, z), as in TorchIO.
        self._volumes = [_load(index, case, workload).permute(2, 1, 0).contiguous() for case in range(len(index))]
        axes = tuple(2 - "DHW".index(axis) for axis in recipe.flips)
        self._spatial = tio.Compose(
            [
                *([tio.RandomFlip(axes=axes)] if axes else []),
                tio.RandomAffine(scales=recipe.scale, degrees=recipe.degrees, default_pad_value="minimum"),
            ]
        )
        local = [
            tio.RandomBlur(std=(0, recipe.blur)),
            tio.RandomNoise(std=(0, recipe.noise)),
            tio.RandomGamma(log_gamma=(-recipe.gamma, recipe.gamma)),
        ]
        swap = tio.RandomSwap(patch_size=workload.patch[::-1], num_iterations=workload.iterations)
        self._global = tio.Compose([*local, swap, tio.ZNormalization()])
        self._local = tio.Compose([*local, tio.ZNormalization()])

    def __len__(self) -> int:
        """Return a length that is never reached."""
        return 2**31

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the global views, their targets and the local views."""
        plan = self._planner.plan(number)[0]
        clean = [self._spatial(self._cut(plan.case, view)) for view in views_of(plan)]
        views = [self._global(image) for image in clean[:GLOBALS]]
        local = [self._local(image) for image in clean[GLOBALS:]]
        return torch.stack(views), torch.stack(clean[:GLOBALS]), torch.stack(local)

    def _cut(self, case: int, view: AffineView) -> torch.Tensor:
        """Return a resized box (1, x, y, z)."""
        volume = self._volumes[case]
        origin, size = view.origin[::-1], view.size[::-1]
        ends = [o + s for o, s in zip(origin, size, strict=True)]
        lows = [max(0, -o) for o in origin]
        highs = [max(0, end - length) for end, length in zip(ends, volume.shape, strict=True)]
        box = volume[tuple(slice(max(0, o), end) for o, end in zip(origin, ends, strict=True))]
        if any(lows) or any(highs):
            sides = [side for pair in zip(lows[::-1], highs[::-1], strict=True) for side in pair]
            box = pad(box, sides)
        return interpolate(box[None, None], view.shape[::-1], mode="trilinear", align_corners=False)[0]


def _load(index: Index, case: int, workload: Workload) -> torch.Tensor:
    """Return a whole normalised volume."""
    volume = index.cases[case].volumes[0]
    voxels = dali_cr.read_volume(index.root / volume.path)[volume.frame]
    return normalize(torch.from_numpy(np.ascontiguousarray(voxels)), intensity(volume, workload.normalize))
