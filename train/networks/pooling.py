"""Max-pooling with a deterministic implementation for GPUs."""

from __future__ import annotations

import torch
import torch.nn.functional as F


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
    depth, height, width = (edge // 2 for edge in features.shape[2:])
    return features.reshape(*features.shape[:2], depth, 2, height, 2, width, 2).amax((3, 5, 7))
