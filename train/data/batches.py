"""Batches of image crops with their targets, such as the crops of label volumes at the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import dali_cr
from dali_cr import rng
from dali_cr.ops.gather import gather_box
from dali_cr.plan import window
from dali_cr.plan.affine import reach
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.sample import AffineView, SamplePlan
from dali_cr.volume.geometry import Triple

from ..run.device import upload
from .labels import Labels

_SHIFT = 128
"""Purpose of shifts in the last word of the random generator's counter; smaller values are used by dali_cr."""

ON_HOST = ("shift",)
"""Target arrays that stay on the CPU, since reading them back from the GPU would synchronise."""

TargetFunction = Callable[[SamplePlan], dict[str, npt.NDArray[Any]]]
"""Maps the plan of a sample to its target arrays."""


class LabelledBatches:
    """Batches of image crops and their targets.

    Parameters
    ----------
    loader : dali_cr.Loader
        A loader whose recipe swaps nothing, so that its `input` is the image.
    target : TargetFunction
    """

    def __init__(self, loader: dali_cr.Loader, target: TargetFunction) -> None:
        assert isinstance(loader.recipe, dali_cr.Restoration)
        self.loader, self._target = loader, target
        self._planner = CropPlanner(loader.index, loader.recipe, loader.seed)

    def stream(self) -> Iterator[dict[str, Any]]:
        """Yield batches without end, from the loader's next batch on."""
        for batch in self.loader.stream():
            image = batch["input"]
            targets = [self._target(plan) for plan in self._planner.plan(batch["sample"].numpy())]
            stacked = {name: np.stack([target[name] for target in targets]) for name in targets[0]}
            found = {
                name: torch.from_numpy(array) if name in ON_HOST else upload(array, image.device)
                for name, array in stacked.items()
            }
            yield {"image": image, "sample": batch["sample"], **found}


def cut_labels(labels: Labels, plan: SamplePlan, edges: Triple) -> Labels:
    """Crop a label volume as the plan crops the image; 0 outside of the volume.

    Parameters
    ----------
    labels : (D, H, W) uint8
        Canonical label volume, at the recipe's spacing.
    plan : SamplePlan
    edges : (D, H, W) int
        Size of the crop.
    """
    view, shape = plan.views[0], (labels.shape[0], labels.shape[1], labels.shape[2])
    out = np.zeros(edges, labels.dtype)
    out[window.window(view, edges, shape)] = window.flip(labels[window.slices(window.box(view, edges, shape))], view)
    return out


def sample_labels(labels: Labels, view: AffineView, edges: Triple) -> Labels:
    """Return the nearest label of each voxel of a rotated or scaled crop; 0 outside of the volume.

    Parameters
    ----------
    labels : (D, H, W) uint8
        Canonical label volume, on the grid of the file.
    view : AffineView
    edges : (D, H, W) int
        Size of the crop.
    """
    start, stop = reach(view.matrix, view.offset, edges, (labels.shape[0], labels.shape[1], labels.shape[2]))
    box, out = labels[window.slices((start, stop))].astype(np.float32), np.empty(edges, np.float32)
    gather_box(box, start, 0.0, view.matrix, view.offset, out, nearest=True)
    return out.astype(labels.dtype)


def draw_shifts(seed: int, samples: npt.ArrayLike, most: int | Triple) -> npt.NDArray[np.int64]:
    """Draw shifts of samples along D, H and W from -most to most voxels, as a function of (seed, sample number).

    Examples
    --------
    >>> draw_shifts(0, [0, 1], most=(0, 4, 4))[:, 0].tolist()
    [0, 0]
    """
    n = np.atleast_1d(np.asarray(samples)).astype(np.uint64)
    counter = np.zeros((n.size, 4), np.uint32)
    counter[:, 0], counter[:, 1] = n & np.uint64(0xFFFFFFFF), n >> np.uint64(32)
    counter[:, 3] = _SHIFT
    words = rng.philox(counter, [seed & 0xFFFFFFFF, seed >> 32])[:, :3]
    reach = np.broadcast_to(np.asarray(most, np.int64), 3)
    return np.asarray(words.astype(np.int64) % (2 * reach + 1) - reach)


def shift_images(images: torch.Tensor, shifts: npt.NDArray[np.int64]) -> torch.Tensor:
    """Shift each image of a batch (B, C, D, H, W) by whole voxels; edge voxels are repeated.

    Constant padding would add a slab that no real volume has, whose thickness would reveal the shift.

    Examples
    --------
    >>> shift_images(torch.arange(4.0).reshape(1, 1, 1, 1, 4), np.array([[0, 0, -2]])).flatten().tolist()
    [2.0, 3.0, 3.0, 3.0]
    """
    if not shifts.any():
        return images
    out = []
    for image, moves in zip(images, shifts.tolist(), strict=True):
        for axis, by in enumerate(moves, start=1):
            length = image.shape[axis]
            source = (torch.arange(length, device=image.device) - by).clamp(0, length - 1)
            image = image.index_select(axis, source)
        out.append(image)
    return torch.stack(out)
