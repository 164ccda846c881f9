"""Networks that look at a whole volume and answer with a few numbers: an encoder, and what is new on top of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dali_cr.volume.geometry import Triple

from .network import Network

_MIXED = 32
"""Channels per feature cell that a `Locator` keeps (project choice)."""

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


class Classifier(nn.Module):
    """Encoder, a mix of its channels, global average pool, one linear layer.

    The mix is as in SonoNet's head: a convolution of one voxel to half the channels, and a ReLU. Without it the average
    would say little, as instance norm, with which the encoder ends, has taken each channel's mean out.

    Parameters
    ----------
    network : Network
        Whose encoder is taken, parameters and all.
    outputs : int
        Classes.
    shrink : (D, H, W) int
        Voxels that are averaged to one before the network sees them.
    """

    def __init__(self, network: Network, outputs: int, shrink: Triple) -> None:
        super().__init__()
        self.features, self.shrink = network.features, shrink
        mixed = max(1, network.width // 2)
        self.mix = _CONVOLUTION[network.dims](network.width, mixed, kernel_size=1)
        self.head = nn.Linear(mixed, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from (B, C, D, H, W), or (B, C, H, W)."""
        mixed = F.relu(self.mix(self.features(shrunk(image, self.shrink))))
        scores: torch.Tensor = self.head(mixed.flatten(2).mean(2))
        return scores


class WithHead(nn.Module):
    """Encoder, and a head that the network brings along, from features to (B, outputs)."""

    def __init__(self, features: nn.Module, head: nn.Module, shrink: Triple) -> None:
        super().__init__()
        self.features, self.head, self.shrink = features, head, shrink

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from an image."""
        scores: torch.Tensor = self.head(self.features(shrunk(image, self.shrink)))
        return scores


def build_classifier(network: Network, outputs: int, shrink: Triple) -> nn.Module:
    """Return an encoder that answers with a number for each class: through its network's own head, if it has one."""
    if network.classifier is None:
        return Classifier(network, outputs, shrink)
    return WithHead(network.features, network.classifier(outputs), shrink)


class Locator(nn.Module):
    """Encoder, a mix of its channels, and one linear layer that sees every place: an average would forget where.

    Parameters
    ----------
    network : Network
    crop : (D, H, W) int
        Voxels that come in.
    outputs : int
        Numbers that come out.
    shrink : (D, H, W) int
    """

    def __init__(self, network: Network, crop: Triple, outputs: int, shrink: Triple) -> None:
        super().__init__()
        self.features, self.shrink = network.features, shrink
        cells = [edge // (k * stride) for edge, k, stride in zip(crop, shrink, network.strides, strict=True)]
        self.mix = _CONVOLUTION[network.dims](network.width, _MIXED, kernel_size=1)
        self.head = nn.Linear(_MIXED * math.prod(cells), outputs)
        # AdamW moves every weight by about the learning rate: a sum over thousands of cells would leap at each step.
        self.scale = 1 / math.sqrt(self.head.in_features)
        # With the bias at the mean, training begins there and not at noise around it.
        nn.init.zeros_(self.head.weight)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs) from (B, C, D, H, W), or (B, C, H, W)."""
        mixed = F.relu(self.mix(self.features(shrunk(image, self.shrink))))
        numbers: torch.Tensor = self.head(mixed.flatten(1) * self.scale)
        return numbers


def shrunk(image: torch.Tensor, shrink: Triple) -> torch.Tensor:
    """Return (B, C, D, H, W) or (B, C, H, W) with blocks of voxels averaged to one."""
    if shrink == (1, 1, 1):
        return image
    return F.avg_pool2d(image, shrink[1:]) if image.ndim == 4 else F.avg_pool3d(image, shrink)
