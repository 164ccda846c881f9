"""Constant and linear models of whole images, which a task scores like networks.

The linear model is a regression on the principal components of averaged voxels. Both are linear, so that together they
are one linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import dali_cr

from ..data.volumes import outside, pad_evenly, read_case
from ..tasks.classify import Classification
from ..tasks.localize import Localization
from ..tasks.task import TaskInput
from .regression import BOXES, CLASSES, LABELS, Regression, make_folds
from .ridge import Array

WholeTask = Classification | Localization


class LinearModel(nn.Module):
    """Averages over blocks of voxels, and a linear layer.

    Parameters
    ----------
    block : (D, H, W) int, or (H, W) in 2-D
        Edges of the blocks; those at the end of an axis may be smaller.
    weight : (K, P) float
    bias : (K,) float
    """

    def __init__(self, block: Sequence[int], weight: Array, bias: Array) -> None:
        super().__init__()
        self.block = tuple(block)
        self.weight = nn.Parameter(torch.from_numpy(weight).float(), requires_grad=False)
        self.bias = nn.Parameter(torch.from_numpy(bias).float(), requires_grad=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, K) from images (B, C, D, H, W) or (B, C, H, W)."""
        return F.linear(average_blocks(image, self.block).flatten(1), self.weight, self.bias)


@dataclass(frozen=True)
class Fitted:
    """A linear model, and what was chosen for it."""

    model: LinearModel
    components: int
    penalties: list[float | None]
    """The chosen penalty of each regression; None if it could not be chosen and the output is constant."""


def average_blocks(image: torch.Tensor, block: Sequence[int]) -> torch.Tensor:
    """Average images (B, C, D, H, W) or (B, C, H, W) over blocks of voxels.

    Examples
    --------
    >>> average_blocks(torch.tensor([[[[1.0, 3.0, 4.0]]]]), (1, 2)).tolist()
    [[[[2.0, 4.0]]]]
    """
    pool = F.avg_pool2d if len(block) == 2 else F.avg_pool3d
    return pool(image, tuple(block), ceil_mode=True, count_include_pad=False)


def choose_block(crop: Sequence[int], most: int) -> tuple[int, ...]:
    """Return the smallest blocks, with one edge along all axes, of which at most `most` fill a crop.

    Examples
    --------
    >>> choose_block((32, 32, 32), 4096), choose_block((80, 112), 4096)
    ((2, 2, 2), (2, 2))
    """
    edge = 1
    while math.prod(math.ceil(length / edge) for length in crop) > most:
        edge += 1
    return tuple(min(edge, length) for length in crop)


def read_images(index: dali_cr.Index, view: TaskInput, block: Sequence[int]) -> Array:
    """Return the averaged voxels (N, P) of each case, read and normalised as for scoring."""
    rows = []
    for case in index.cases:
        volume = read_case(index.root, case, view.normalize, view.spacing)
        image = torch.from_numpy(pad_evenly(volume, view.crop, outside(case, view.normalize))[0])[None]
        rows.append(average_blocks(image[:, :, 0] if view.dims == 2 else image, block).flatten().numpy())
    return np.stack(rows).astype(np.float64)


def constant_outputs(task: WholeTask, targets: Array) -> Array:
    """Return outputs (K,) that ignore the image: the mean box, or the most frequent class.

    Parameters
    ----------
    task : Classification or Localization
    targets : (N, K) float64
        The `whole_targets` of the training cases.
    """
    if isinstance(task, Classification):
        return np.where(task.baseline, 1.0, -1.0)
    known = np.isfinite(targets)
    return np.asarray(np.where(known, targets, 0.0).sum(0) / np.maximum(known.sum(0), 1))


def fit_linear(
    task: WholeTask, images: Array, targets: Array, subjects: Sequence[str], block: Sequence[int], components: int
) -> Fitted:
    """Fit a linear model to training cases: logistic regression for classes, ridge regression for boxes.

    Parameters
    ----------
    task : Classification or Localization
    images : (N, P) float64
        From `read_images`.
    targets : (N, K) float64
        From `whole_targets`; NaN if not known.
    subjects : sequence of str
        The subject of each case.
    block : sequence of int
    components : int
        Number of principal components, if there are as many.
    """
    from sklearn.decomposition import PCA

    if len(images) == 1:  # no components
        constant = constant_outputs(task, targets)
        return Fitted(LinearModel(block, np.zeros((len(constant), images.shape[1])), constant), 0, [None])
    pca = PCA(min(components, len(images) - 1, images.shape[1]), random_state=0).fit(images)
    scale = math.sqrt(pca.explained_variance_[0]) or 1.0
    features = pca.transform(images) / scale
    weights, offsets, penalties = zip(*_regressions(task, features, targets, subjects), strict=True)
    weight = np.concatenate(weights) @ pca.components_ / scale
    bias = np.concatenate(offsets) - weight @ pca.mean_
    return Fitted(LinearModel(block, weight, bias), len(pca.components_), list(penalties))


def _regressions(
    task: WholeTask, features: Array, targets: Array, subjects: Sequence[str]
) -> Iterator[tuple[Array, Array, float | None]]:
    """Yield weights, offsets and penalty: once for exclusive classes, else once for each output."""
    regression, constant = _regression_of(task), constant_outputs(task, targets)
    outputs = targets.shape[1]
    for column in [slice(0, outputs)] if regression is CLASSES else [slice(k, k + 1) for k in range(outputs)]:
        known = np.asarray(np.isfinite(targets[:, column]).all(1))
        wanted = targets[known, column]
        folds = make_folds([name for name, here in zip(subjects, known, strict=True) if here])
        if isinstance(task, Classification):
            folds = [fold for fold in folds if _all_classes(wanted[fold[0]], wanted)]
        if folds:
            penalty = regression.choose_penalty(features[known], wanted, folds)
            yield *regression.fit(features[known], wanted, penalty), penalty
        else:
            yield np.zeros((wanted.shape[1], features.shape[1])), constant[column], None


def _regression_of(task: WholeTask) -> Regression:
    if isinstance(task, Localization):
        return BOXES
    return LABELS if task.multilabel else CLASSES


def _all_classes(some: Array, every: Array) -> bool:
    """Whether some of the rows have all classes, two or more."""
    classes = np.unique(every, axis=0)
    return len(classes) > 1 and len(np.unique(some, axis=0)) == len(classes)
