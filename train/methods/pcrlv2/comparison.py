"""The siamese comparison of PCRLv2: two views of a case are to say the same of it, at a level drawn at random.

As in SimSiam there are neither negatives nor a second, slower network. A prediction q from one view is compared with
the projection p of the other, through which no gradient flows; without that stop the answers would collapse to a
constant. p is a batch-normalised average over the voxels of a level of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from dali_cr import rng


class Said(NamedTuple):
    """What a level of the decoder says of each view, (B, C) or (B, V, C) float32."""

    projection: torch.Tensor
    prediction: torch.Tensor


class Comparer(nn.Module):
    """The head that compares one level.

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

    def forward(self, features: torch.Tensor) -> Said:
        """Return the projection and the prediction of (B, C, D, H, W), or (B, C, H, W)."""
        # Few numbers, and small differences between them: in float32 also where the convolutions are not.
        with torch.autocast(features.device.type, enabled=False):
            projection = self.norm(features.float().flatten(2).mean(2))
            return Said(projection, self.predictor(projection))


def disagreement(one: Said, other: Said) -> torch.Tensor:
    """Return D: minus the mean cosine between what is predicted of a view and what the other one shows.

    Parameters
    ----------
    one, other : Said
        Of two views of the same cases, (B, C) each.

    Returns
    -------
    torch.Tensor
        A number from -1, where both say the same, to 1.
    """
    there = F.cosine_similarity(one.prediction, other.projection.detach()).mean()
    back = F.cosine_similarity(other.prediction, one.projection.detach()).mean()
    return -(there + back) / 2


def compare_locals(
    one: Mapping[int, Said], other: Mapping[int, Said], local: Mapping[int, Said], levels: Sequence[tuple[int, int]]
) -> torch.Tensor:
    """Return the mean of D between each local view and both global views.

    Parameters
    ----------
    one, other : mapping of int to Said
        Of the global views by level, (B, C) each.
    local : mapping of int to Said
        Of V local views, (B, V, C) each.
    levels : sequence of (int, int)
        For each local view at which level it is compared with the one and with the other.

    Returns
    -------
    torch.Tensor
        1 / (2 V) of the sum of the 2 V numbers.
    """
    total = torch.zeros((), device=next(iter(local.values())).projection.device)
    for view, (first, second) in enumerate(levels):
        for whole, level in ((one[first], first), (other[second], second)):
            part = Said(local[level].projection[:, view], local[level].prediction[:, view])
            total = total + disagreement(whole, part)
    return total / (2 * len(levels))


def draw_levels(seed: int, step: int, count: int, levels: int) -> list[int]:
    """Return the levels of a step's comparisons, each uniform: a function of seed and step, so a resume draws the same.

    Parameters
    ----------
    seed, step : int
    count : int
        How many comparisons.
    levels : int
        Of how many.

    Examples
    --------
    >>> draw_levels(0, step=1, count=4, levels=3)
    [1, 2, 2, 2]
    """
    words = rng.draw_words(seed, step, rng.Purpose.LEVEL, (count + 1) // 2)[0, :count]
    drawn: list[int] = rng.below(words, levels).tolist()
    return drawn


def spread(projections: torch.Tensor) -> float:
    """Return how far projections are from having collapsed to one: about 1 if they point everywhere, 0 if to one place.

    The standard deviation of each channel of the projections scaled to length 1, its mean over the channels, times the
    square root of their number. Above 0.5 is sound (project choice); SimSiam watches the same number.

    Parameters
    ----------
    projections : (N, C)
    """
    scaled = F.normalize(projections.double(), dim=1)
    return float(scaled.std(0, correction=0).mean() * scaled.shape[1] ** 0.5)
