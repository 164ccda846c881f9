"""Linear and trivial baselines of segmentation: masks that are averages of the labelled cases' masks.

They need all images on one grid. The trivial baseline ignores the image: each voxel gets its most frequent class among
the labelled cases. The linear one is a ridge regression of the masks on principal components of the images, whose
predictions are averages of the same masks, weighted by the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tyro

import dali_cr

from ...data.cases import open_index
from ...data.split.make import load_split
from ...linear.model import choose_block, read_images
from ...linear.ridge import Array, average_weights
from ...tasks.config.segment import Segment
from ...tasks.segment import Segmentation
from ...tasks.targets import open_task
from ..running.jobs import RunQueue
from ..runs import StudyRun
from .components import reduce

_VOXELS = 4096
"""Largest number of averaged voxels of an image (project choice)."""

_TIE = 1e-5
"""Advantage of the background, which gets equal votes despite rounding."""

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MaskData:
    """A segmentation task whose images share one grid, with principal components of the images."""

    task: Segmentation
    train: dali_cr.Index
    test: dali_cr.Index
    known: Array
    """Components (N, C) of the train cases."""
    asked: Array
    """Components (M, C) of the test cases."""


def open_masks(queue: RunQueue, run: StudyRun, components: int) -> MaskData | None:
    """Return the data of a segmentation run; None unless all images have one shape."""
    config = tyro.cli(Segment, args=queue.options(run), config=(tyro.conf.FlagCreatePairsOff,))
    view = config.view(None)
    task, labelled = open_task(config, open_index(config), load_split(queue.split(run.data)), view)
    train, test = labelled.parts["train"], labelled.parts["test"]
    shapes = {case.shape for case in (*train.cases, *test.cases)}
    if len(shapes) > 1 or view.spacing or view.dims == 2:
        return None
    block = choose_block(next(iter(shapes)), _VOXELS)
    known, asked = reduce(read_images(train, view, block), read_images(test, view, block), components)
    assert isinstance(task, Segmentation)
    return MaskData(task=task, train=train, test=test, known=known, asked=asked)


def score_masks(data: MaskData, places: Sequence[int]) -> tuple[float, float]:
    """Return the mean Dice over test cases of the trivial and of the linear baseline.

    Parameters
    ----------
    data : MaskData
    places : sequence of int
        Labelled cases among those of train.
    """
    masks = np.stack([data.task.masks(data.task.read(data.train.cases[place])) for place in places])
    known = data.known[list(places)]
    shares = _class_shares(masks, unlabelled=data.task.absent == "unlabelled")
    centred = masks - shares
    if data.task.absent == "unlabelled":
        centred[~masks.any((2, 3, 4))] = 0.0
    weights = average_weights(known, data.asked, centred)
    trivial, linear = [], []
    for case, own in zip(data.test.cases, weights, strict=True):
        target = data.task.masks(data.task.read(case))
        changed = shares + np.tensordot(own.astype(np.float32), centred, 1)
        trivial.append(_dice(data.task, shares, target))
        linear.append(_dice(data.task, changed, target))
    return float(np.mean(trivial)), float(np.mean(linear))


def _class_shares(masks: Masks, *, unlabelled: bool) -> npt.NDArray[np.float32]:
    """Return the share (K, D, H, W) of cases in which a voxel has a class; of the annotated ones if `unlabelled`."""
    counts = masks.any((2, 3, 4)).sum(0) if unlabelled else np.full(masks.shape[1], len(masks))
    return np.asarray(masks.sum(0) / np.maximum(counts, 1)[:, None, None, None], np.float32)


def _dice(task: Segmentation, shares: npt.NDArray[np.float32], target: Masks) -> float:
    """Return the mean Dice over the scored classes of a case, of the most probable class of each voxel."""
    if task.regions:
        predicted = shares > 0.5
    else:
        background = 1 + _TIE - shares.sum(0, keepdims=True)
        whole = np.concatenate([background, shares]).argmax(0)
        predicted = np.stack([whole == number + 1 for number in range(len(shares))])
    return float(np.mean(list(_class_dice(task, predicted, target))))


def _class_dice(task: Segmentation, predicted: Masks, target: Masks) -> Iterator[float]:
    for own, true in zip(predicted, target, strict=True):
        if true.any() or task.absent == "empty":
            size = int(own.sum()) + int(true.sum())
            yield 2 * int((own & true).sum()) / size if size else 1.0
