"""SonoNet-64, the scan-plane classification network of Chen et al. (2019), in 2-D as published and in 3-D.

The analysis part is the encoder. For restoration "a few deconvolution layers" follow, without published details; a
transposed convolution with batch norm and ReLU for each pooling and a final 3 × 3 convolution are a project choice, as
is the 3-D version (3 × 3 × 3 kernels, pooling by 2 × 2 × 2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from .network import Network, Sizes
from .pooling import halve

STACKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Widths of SonoNet's convolutions in units of its filters, 64 as published, with pooling between stacks."""

_EPS = 1e-4
"""Epsilon of batch norm, as in the PyTorch port of the published weights."""

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class SonoNet(nn.Module):
    """Stacks of convolutions with max-pooling between them, and transposed convolutions back to the image's size.

    Parameters
    ----------
    stacks : sequence of sequence of int
        Widths of the convolutions of each stack.
    channels, outputs : int
        Input and output channels.
    dims : 2 or 3

    References
    ----------
    Baumgartner et al.: SonoNet: real-time detection and localisation of fetal standard scan planes in freehand
    ultrasound. IEEE TMI 36 (2017) 2204-2215. Layers as in baumgach/SonoNet-weights.

    Examples
    --------
    >>> SonoNet([(2,), (4,)], channels=1, outputs=3, dims=2)(torch.zeros(1, 1, 8, 12)).shape
    torch.Size([1, 3, 8, 12])
    """

    def __init__(self, stacks: Sequence[Sequence[int]], channels: int, outputs: int, dims: int) -> None:
        super().__init__()
        self.analysis = nn.ModuleList()
        for widths in stacks:
            layers = []
            for width in widths:
                layers.append(_convolution(dims, channels, width, kernel=3))
                channels = width
            self.analysis.append(nn.Sequential(*layers))
        self.reconstruction = nn.ModuleList()
        for widths in reversed(stacks[:-1]):
            self.reconstruction.append(_doubling(dims, channels, widths[-1]))
            channels = widths[-1]
        self.output = _CONVOLUTION[dims](channels, outputs, kernel_size=3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, ...) from (B, C, ...), with the same spatial size."""
        features = analyse(self.analysis, image)
        for layer in self.reconstruction:
            features = layer(features)
        restored: torch.Tensor = self.output(features)
        return restored


class Analysis(nn.Module):
    """The analysis part, with shared parameters under the same names."""

    def __init__(self, sononet: SonoNet) -> None:
        super().__init__()
        self.analysis = sononet.analysis

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the coarsest features."""
        return analyse(self.analysis, image)


def analyse(stacks: nn.ModuleList, image: torch.Tensor) -> torch.Tensor:
    """Return the features of the last stack."""
    first, *others = stacks
    features: torch.Tensor = first(image)
    for stack in others:
        features = stack(halve(features))
    return features


class SonoNetHead(nn.Module):
    """SonoNet's head: 1 × 1 convolutions to half the width and to the classes, then global average pooling.

    Parameters
    ----------
    width : int
        Channels of the features.
    classes : int
    dims : 2 or 3
    """

    def __init__(self, width: int, classes: int, dims: int) -> None:
        super().__init__()
        self.adapt = _convolution(dims, width, max(1, width // 2), kernel=1)
        self.classify = nn.Sequential(
            OrderedDict(
                conv=_CONVOLUTION[dims](max(1, width // 2), classes, kernel_size=1, bias=False),
                norm=_NORM[dims](classes, eps=_EPS),
            )
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes)."""
        logits: torch.Tensor = self.classify(self.adapt(features)).flatten(2).mean(2)
        return logits


def check(sizes: Sizes) -> None:
    """Check that the edges of the crop can be halved at each pooling."""
    sizes.check_multiple(2 ** (len(STACKS) - 1))


def build(sizes: Sizes) -> Network:
    """Build SonoNet."""
    return build_stacks(sizes, STACKS)


def build_stacks(sizes: Sizes, stacks: Sequence[Sequence[int]]) -> Network:
    """Build a network of stacks, with widths in units of its filters."""
    stride = 2 ** (len(stacks) - 1)
    widths = [[unit * sizes.filters for unit in stack] for stack in stacks]
    module = SonoNet(widths, sizes.channels, sizes.outputs, sizes.dims)
    encoder = tuple(
        f"analysis.{stack}.{layer}.{tensor}"
        for stack, units in enumerate(stacks)
        for layer in range(len(units))
        for tensor in _TENSORS
    )
    return Network(
        module=module,
        tensors=tuple(module.state_dict()),
        encoder=encoder,
        head=("output.weight", "output.bias"),
        features=Analysis(module),
        width=widths[-1][-1],
        strides=(stride if sizes.dims == 3 else 1, stride, stride),
        classifier=partial(SonoNetHead, widths[-1][-1], dims=sizes.dims),
        dims=sizes.dims,
        about=sizes.about,
    )


_TENSORS = (
    "conv.weight",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
)
"""Names of the tensors of a convolution and its batch norm."""


def _convolution(dims: int, channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=_CONVOLUTION[dims](channels, width, kernel_size=kernel, padding=kernel // 2, bias=False),
            norm=_NORM[dims](width, eps=_EPS),
            relu=nn.ReLU(inplace=True),
        )
    )


def _doubling(dims: int, channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=_TRANSPOSED[dims](channels, width, kernel_size=2, stride=2, bias=False),
            norm=_NORM[dims](width, eps=_EPS),
            relu=nn.ReLU(inplace=True),
        )
    )
