"""Siamese contrastive loss of PCRLv2 between two views of a case, at a randomly drawn decoder level.

As in SimSiam there are no negative pairs and no momentum encoder. The prediction q of one view is compared with the
projection p of the other, through which no gradient flows; without this stop-gradient the outputs would collapse to a
constant. p is the batch-normalised average of a decoder level over its voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from dali_cr import rng


class HeadOutput(NamedTuple):
    """Projection and prediction of each view at one decoder level, (B, C) or (B, V, C) float32."""

    projection: torch.Tensor
    prediction: torch.Tensor


class ContrastiveHead(nn.Module):
    """Projection and prediction head of one decoder level.

    Parameters
    ----------
    width : int
        Channels of the level.

    References
    ----------
    Chen, He: Exploring simple siamese representation learning. CVPR 2021.
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. TPAMI 45(7), 2023. The layers are those of its public code, RL4M/PCRLv2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.predictor = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * width, width),
        )

    def forward(self, features: torch.Tensor) -> HeadOutput:
        """Return the projection and the prediction of features (B, C, D, H, W) or (B, C, H, W)."""
        # In float32 even under autocast: the values are few and their differences small.
        with torch.autocast(features.device.type, enabled=False):
            projection = self.norm(features.float().flatten(2).mean(2))
            return HeadOutput(projection, self.predictor(projection))


def contrastive_loss(one: HeadOutput, other: HeadOutput) -> torch.Tensor:
    """Return the symmetric contrastive loss D: the negative mean cosine similarity of predictions and projections.

    Parameters
    ----------
    one, other : HeadOutput
        Outputs for two views of the same cases, (B, C) each.

    Returns
    -------
    torch.Tensor
        A scalar from -1 (predictions and projections agree) to 1.
    """
    there = F.cosine_similarity(one.prediction, other.projection.detach()).mean()
    back = F.cosine_similarity(other.prediction, one.projection.detach()).mean()
    return -(there + back) / 2


def local_contrastive_loss(
    one: Mapping[int, HeadOutput],
    other: Mapping[int, HeadOutput],
    local: Mapping[int, HeadOutput],
    levels: Sequence[tuple[int, int]],
) -> torch.Tensor:
    """Return the mean contrastive loss between each local view and both global views.

    Parameters
    ----------
    one, other : mapping of int to HeadOutput
        Outputs for the two global views by level, (B, C) each.
    local : mapping of int to HeadOutput
        Outputs for V local views by level, (B, V, C) each.
    levels : sequence of (int, int)
        For each local view, the levels at which it is compared with `one` and with `other`.

    Returns
    -------
    torch.Tensor
        The mean of 2 V losses, a scalar.
    """
    total = torch.zeros((), device=next(iter(local.values())).projection.device)
    for view, (first, second) in enumerate(levels):
        for whole, level in ((one[first], first), (other[second], second)):
            part = HeadOutput(local[level].projection[:, view], local[level].prediction[:, view])
            total = total + contrastive_loss(whole, part)
    return total / (2 * len(levels))


def draw_levels(seed: int, step: int, count: int, levels: int) -> list[int]:
    """Draw the decoder levels of a step's losses, uniformly; a function of (seed, step), so resumed runs draw the same.

    Parameters
    ----------
    seed, step : int
    count : int
        Number of levels to draw.
    levels : int
        Number of decoder levels.

    Examples
    --------
    >>> draw_levels(0, step=1, count=4, levels=3)
    [1, 2, 2, 2]
    """
    words = rng.draw_words(seed, step, rng.Purpose.LEVEL, (count + 1) // 2)[0, :count]
    drawn: list[int] = rng.below(words, levels).tolist()
    return drawn


def collapse_metric(projections: torch.Tensor) -> float:
    """Return the collapse metric: about 1 if projections point in all directions, 0 if all are the same.

    Projections are scaled to unit length; the metric is the standard deviation of a channel, averaged over the C
    channels, times sqrt(C). SimSiam monitors the same number. Values above 0.5 are considered sound (project choice).

    Parameters
    ----------
    projections : (N, C)
    """
    scaled = F.normalize(projections.double(), dim=1)
    return float(scaled.std(0, correction=0).mean() * scaled.shape[1] ** 0.5)
