"""Classifier of tiles: the shared encoder, the average of each tile's features, and a perceptron."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dali_cr.volume.geometry import Triple

from ...networks.network import Network
from .tiling import Tiling

_HIDDEN = 256
"""Width of the hidden layer (project choice; published networks have 4096)."""

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


class TileClassifier(nn.Module):
    """Shared encoder, 1 × 1 convolution, ReLU and average of each tile; then a perceptron with one hidden layer.

    As published, tiles are encoded separately and joined late. The layers are a project choice: the convolution to half
    the channels is that of `train.networks.heads.Classifier`.

    Parameters
    ----------
    network : Network
        Network whose encoder is used, with shared parameters.
    tiles : int
        Tiles of a sample.
    classes : int
    """

    def __init__(self, network: Network, tiles: int, classes: int) -> None:
        super().__init__()
        self.features = network.features
        mixed = max(1, network.width // 2)
        self.mix = _CONVOLUTION[network.dims](network.width, mixed, kernel_size=1)
        self.hidden = nn.Linear(tiles * mixed, _HIDDEN)
        self.output = nn.Linear(_HIDDEN, classes)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) of tiles (B, T, C, D, H, W) or (B, T, C, H, W)."""
        mixed = F.relu(self.mix(self.features(tiles.flatten(0, 1))))
        joined = mixed.flatten(2).mean(2).unflatten(0, tiles.shape[:2]).flatten(1)
        logits: torch.Tensor = self.output(F.relu(self.hidden(joined)))
        return logits


def input_edges(tiling: Tiling, network: Network) -> Triple:
    """Return the edges of a tile with zeros around it, as the encoder can take it (project choice).

    They are multiples of the network's strides, with as many features as its norms need. So the encoder has the levels
    that it has for the whole crop, and a tile keeps its voxel size.

    Raises
    ------
    ValueError
        If a tile has fewer voxels than one of the coarsest features; with a crop or tile that has not.
    """
    small = [axis for axis in range(3) if tiling.tile[axis] < network.strides[axis]]
    if small:
        axis, crop = small[0], list(tiling.crop)
        for one in small:
            crop[one] = max(crop[one], tiling.least_edge(one, network.strides[one]))
        raise ValueError(
            f"--crop: expected tiles of at least {network.strides[axis]} voxels along {'DHW'[axis]}, one of the "
            f"coarsest features of {network.about['network']}, got {tiling.tile[axis]}; use --crop "
            f"{' '.join(map(str, crop))} without --tile, or a --network with fewer levels"
        )
    cells = [-(-own // stride) for own, stride in zip(tiling.tile, network.strides, strict=True)]
    if math.prod(cells) < network.least_cells:
        cells = [number + (own > 1) for number, own in zip(cells, tiling.tile, strict=True)]
    depth, height, width = (number * stride for number, stride in zip(cells, network.strides, strict=True))
    return depth, height, width
