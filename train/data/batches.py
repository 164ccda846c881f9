"""Crops with their truth: the loader's batches, and beside each sample what its plan says about its label."""

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
from dali_cr.plan.boxes import reach
from dali_cr.plan.crops import CropPlanner
from dali_cr.plan.sample import AffineView, SamplePlan
from dali_cr.volume.geometry import Triple

from ..run.device import upload
from .labels import Labels

_SHIFT = 128
"""The purpose under which shifts are drawn, in the last word of the generator's counter; the library's are below."""

ON_HOST = ("shift",)
"""Arrays of a sample that are not moved to the GPU: read back, they would have to be waited for."""

Truth = Callable[[SamplePlan], dict[str, npt.NDArray[Any]]]
"""From a sample's plan to the arrays that say what is true of it."""


class Labelled:
    """Batches of image crops and truths.

    Parameters
    ----------
    loader : dali_cr.Loader
        Its recipe has no swaps: what it calls the input is the image.
    truth : Truth
    """

    def __init__(self, loader: dali_cr.Loader, truth: Truth) -> None:
        assert isinstance(loader.recipe, dali_cr.Restoration)
        self.loader, self._truth = loader, truth
        self._planner = CropPlanner(loader.index, loader.recipe, loader.seed)

    def stream(self) -> Iterator[dict[str, Any]]:
        """Go on with the loader's first batch that was not delivered yet, without end."""
        for batch in self.loader.stream():
            image = batch["input"]
            truths = [self._truth(plan) for plan in self._planner.plan(batch["sample"].numpy())]
            stacked = {name: np.stack([truth[name] for truth in truths]) for name in truths[0]}
            found = {
                name: torch.from_numpy(array) if name in ON_HOST else upload(array, image.device)
                for name, array in stacked.items()
            }
            yield {"image": image, "sample": batch["sample"], **found}


def cut_labels(labels: Labels, plan: SamplePlan, edges: Triple) -> Labels:
    """Cut from a label volume what the plan cuts from the image; 0 where the crop sticks out.

    Parameters
    ----------
    labels : (D, H, W) uint8
        Canonical, at the recipe's spacing.
    plan : SamplePlan
    edges : (D, H, W) int
        The crop.
    """
    view, shape = plan.views[0], (labels.shape[0], labels.shape[1], labels.shape[2])
    out = np.zeros(edges, labels.dtype)
    out[window.window(view, edges, shape)] = window.flip(labels[window.slices(window.box(view, edges, shape))], view)
    return out


def sample_labels(labels: Labels, view: AffineView, edges: Triple) -> Labels:
    """Return the nearest label of each voxel of a crop that is rotated or scaled; 0 where it leaves the volume.

    Parameters
    ----------
    labels : (D, H, W) uint8
        Canonical, on the grid of the file.
    view : AffineView
    edges : (D, H, W) int
        The crop.
    """
    start, stop = reach(view.matrix, view.offset, edges, (labels.shape[0], labels.shape[1], labels.shape[2]))
    box, out = labels[window.slices((start, stop))].astype(np.float32), np.empty(edges, np.float32)
    gather_box(box, start, 0.0, view.matrix, view.offset, out, nearest=True)
    return out.astype(labels.dtype)


def draw_shifts(seed: int, samples: npt.ArrayLike, most: int | Triple) -> npt.NDArray[np.int64]:
    """Draw how far each sample is moved along D, H and W: from -most to most voxels, a function of (seed, number).

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
    """Move each image of a batch (B, C, D, H, W) by whole voxels; what comes in repeats the voxel at the edge.

    A constant would come in as a slab that no whole volume has, and its thickness would tell the move.

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
