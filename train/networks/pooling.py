"""Pooling with deterministic implementations for GPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def halve(features: torch.Tensor) -> torch.Tensor:
    """Max-pool by 2 along each axis.

    CUDA's 3-D max-pooling has no deterministic backward pass; in deterministic mode, `amax` over blocks is used. The
    two differ in how the gradient is shared among equal maxima, which after a ReLU are zeros without a gradient.
    """
    if features.ndim == 4:
        return F.max_pool2d(features, 2)
    if features.is_cuda and torch.are_deterministic_algorithms_enabled():
        return largest_of_blocks(features)
    return F.max_pool3d(features, 2)


def largest_of_blocks(features: torch.Tensor) -> torch.Tensor:
    """Max-pool (B, C, D, H, W) by 2 as a reduction over blocks."""
    return _blocks(features).amax((3, 5, 7))


class HalvingMean(nn.Module):
    """Average pooling by 2; in 3-D its backward pass on CUDA has no deterministic kernel."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, C, D / 2, H / 2, W / 2) or (B, C, H / 2, W / 2)."""
        if features.ndim == 4:
            return F.avg_pool2d(features, 2)
        if features.is_cuda and torch.are_deterministic_algorithms_enabled():
            return mean_of_blocks(features)
        return F.avg_pool3d(features, 2)


def mean_of_blocks(features: torch.Tensor) -> torch.Tensor:
    """Average-pool (B, C, D, H, W) by 2 as a reduction over blocks."""
    return _blocks(features).mean((3, 5, 7))


def _blocks(features: torch.Tensor) -> torch.Tensor:
    """Return (B, C, D, H, W) as (B, C, D / 2, 2, H / 2, 2, W / 2, 2)."""
    depth, height, width = (edge // 2 for edge in features.shape[2:])
    return features.reshape(*features.shape[:2], depth, 2, height, 2, width, 2)
