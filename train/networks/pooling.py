"""Pooling that is deterministic on a GPU too, where that is asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def halve(features: torch.Tensor) -> torch.Tensor:
    """Return the largest of each 2 × 2 (× 2) voxels.

    CUDA's max-pooling in 3-D has no deterministic backward pass; where one is asked for, blocks are reduced instead.
    The two differ in how a gradient is shared among equal largest voxels, which behind a ReLU are zeros and get none.
    """
    if features.ndim == 4:
        return F.max_pool2d(features, 2)
    if features.is_cuda and torch.are_deterministic_algorithms_enabled():
        return largest_of_blocks(features)
    return F.max_pool3d(features, 2)


def largest_of_blocks(features: torch.Tensor) -> torch.Tensor:
    """Return what max-pooling of (B, C, D, H, W) by 2 does, as a reduction."""
    return _blocks(features).amax((3, 5, 7))


class HalvingMean(nn.Module):
    """Average pooling of 2 × 2 (× 2) voxels, whose backward pass in 3-D CUDA has no deterministic kernel for either."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean of each block."""
        if features.ndim == 4:
            return F.avg_pool2d(features, 2)
        if features.is_cuda and torch.are_deterministic_algorithms_enabled():
            return mean_of_blocks(features)
        return F.avg_pool3d(features, 2)


def mean_of_blocks(features: torch.Tensor) -> torch.Tensor:
    """Return what average pooling of (B, C, D, H, W) by 2 does, as a reduction."""
    return _blocks(features).mean((3, 5, 7))


def _blocks(features: torch.Tensor) -> torch.Tensor:
    """Return (B, C, D, H, W) as (B, C, D / 2, 2, H / 2, 2, W / 2, 2)."""
    depth, height, width = (edge // 2 for edge in features.shape[2:])
    return features.reshape(*features.shape[:2], depth, 2, height, 2, width, 2)
