"""Heads for whole volumes: an encoder followed by a classifier or by a regression of box faces."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dali_cr.volume.geometry import Triple

from .network import Network

_MIXED = 32
"""Channels after the 1 × 1 convolution of `Locator` (project choice)."""

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


class Classifier(nn.Module):
    """Encoder, 1 × 1 convolution, ReLU, global average pooling and a linear layer.

    The convolution to half the channels is as in SonoNet's head. Without it, the averages would carry little
    information, since the encoder ends with instance norm, which removes each channel's mean.

    Parameters
    ----------
    network : Network
        Network whose encoder is used, with shared parameters.
    outputs : int
        Number of classes.
    shrink : (D, H, W) int
        Blocks of voxels to average before the encoder.
    """

    def __init__(self, network: Network, outputs: int, shrink: Triple) -> None:
        super().__init__()
        self.features, self.shrink = network.features, shrink
        mixed = max(1, network.width // 2)
        self.mix = _CONVOLUTION[network.dims](network.width, mixed, kernel_size=1)
        self.head = nn.Linear(mixed, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from images (B, C, D, H, W) or (B, C, H, W)."""
        mixed = F.relu(self.mix(self.features(shrunk(image, self.shrink))))
        scores: torch.Tensor = self.head(mixed.flatten(2).mean(2))
        return scores


class WithHead(nn.Module):
    """Encoder followed by the network's own head, which maps features to (B, outputs)."""

    def __init__(self, features: nn.Module, head: nn.Module, shrink: Triple) -> None:
        super().__init__()
        self.features, self.head, self.shrink = features, head, shrink

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from images."""
        scores: torch.Tensor = self.head(self.features(shrunk(image, self.shrink)))
        return scores


def build_classifier(network: Network, outputs: int, shrink: Triple) -> nn.Module:
    """Return a classifier with the network's own head if it has one, else `Classifier`."""
    if network.classifier is None:
        return Classifier(network, outputs, shrink)
    return WithHead(network.features, network.classifier(outputs), shrink)


class Locator(nn.Module):
    """Encoder, 1 × 1 convolution, ReLU and a linear layer over all positions, since pooling would lose the location.

    Parameters
    ----------
    network : Network
    crop : (D, H, W) int
        Size of the input in voxels.
    outputs : int
        Number of outputs.
    shrink : (D, H, W) int
    """

    def __init__(self, network: Network, crop: Triple, outputs: int, shrink: Triple) -> None:
        super().__init__()
        self.features, self.shrink = network.features, shrink
        cells = [edge // (k * stride) for edge, k, stride in zip(crop, shrink, network.strides, strict=True)]
        self.mix = _CONVOLUTION[network.dims](network.width, _MIXED, kernel_size=1)
        self.head = nn.Linear(_MIXED * math.prod(cells), outputs)
        # AdamW changes each weight by about the learning rate, so a sum over thousands of cells would change too fast.
        self.scale = 1 / math.sqrt(self.head.in_features)
        # With zero weights, the initial output is the bias, which is set to the mean.
        nn.init.zeros_(self.head.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from images (B, C, D, H, W) or (B, C, H, W)."""
        mixed = F.relu(self.mix(self.features(shrunk(image, self.shrink))))
        numbers: torch.Tensor = self.head(mixed.flatten(1) * self.scale)
        return numbers


def shrunk(image: torch.Tensor, shrink: Triple) -> torch.Tensor:
    """Average blocks of voxels of (B, C, D, H, W) or (B, C, H, W)."""
    if shrink == (1, 1, 1):
        return image
    return F.avg_pool2d(image, shrink[1:]) if image.ndim == 4 else F.avg_pool3d(image, shrink)
