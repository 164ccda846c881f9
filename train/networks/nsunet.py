"""The U-Net of PCRLv2 without skip connections, and the same encoder in a U-Net with skip connections.

PCRLv2 restores without skip connections, so that all information passes through the encoder; the levels of its decoder
form the pyramid that is used at several scales. For segmentation the authors recommend skip connections, with a new
decoder on the pre-trained encoder.

Sizes are those of the public 3-D code (RL4M/PCRLv2, ``models/pcrlv2_model_3d.py``), including biases before batch
norms: with 64 filters and one channel, the encoder has 7,027,776 parameters, the decoder 9,723,392 and the output layer
65. The 17.11 million of the public model include the heads of `methods/pcrlv2`: 348,096 contrastive and 12,105 for
restoration. The 2-D version without an axis is a project choice: the network of the public 2-D code is in `resnet`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from .network import Network, Sizes
from .pooling import halve

LEVELS = 3
"""Levels of the decoder, one for each halving of the encoder."""

STRIDE = 2**LEVELS
"""Voxels per coarsest feature along each axis."""

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class NsUNet(nn.Module):
    """U-Net with four levels of two convolutions, max-pooling and transposed convolutions.

    Parameters
    ----------
    channels, outputs : int
        Input and output channels.
    filters : int
        Channels of the first level, doubled at each level; 64 as published.
    skips : bool
        Whether encoder features are concatenated in the decoder.
    dims : 2 or 3
        2 for input (B, C, H, W), 3 for (B, C, D, H, W).

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. TPAMI 45(7), 2023.

    Examples
    --------
    >>> NsUNet(1, 1, filters=2)(torch.zeros(1, 1, 8, 16, 16)).shape
    torch.Size([1, 1, 8, 16, 16])
    """

    def __init__(self, channels: int, outputs: int, filters: int = 64, *, skips: bool = False, dims: int = 3) -> None:
        super().__init__()
        self.widths = [filters * 2**level for level in range(LEVELS + 1)]
        before = [channels, *self.widths[:-1]]
        self.down = _Down(
            _pair(dims, inputs, width // 2, width) for inputs, width in zip(before, self.widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Up(dims, 2 * width, width if skips else 0, width) for width in reversed(self.widths[:-1])
        )
        self.output = CONVOLUTION[dims](filters, outputs, kernel_size=1)
        self.skips, self.dims = skips, dims
        self.level_widths = tuple(self.widths[-2::-1])
        """Channels of the decoder's levels, the coarsest first."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the outputs for each voxel, without an activation."""
        answer: torch.Tensor = self.output(self.pyramid(image)[-1])
        return answer

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that `pyramid` calls."""
        return [self.down, *self.up]

    def pyramid(self, image: torch.Tensor, levels: int | None = None) -> list[torch.Tensor]:
        """Return the features of the decoder's first levels, coarsest first; later levels are not computed."""
        *passed, features = self.down(image)
        pyramid = []
        for level, skipped in zip(self.up[:levels], reversed(passed), strict=False):
            features = level(features, skipped if self.skips else None)
            pyramid.append(features)
        return pyramid


class NsEncoder(nn.Module):
    """The encoder, with shared parameters under the same names."""

    def __init__(self, unet: NsUNet) -> None:
        super().__init__()
        self.down = unet.down

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the coarsest features."""
        features: torch.Tensor = self.down(image)[-1]
        return features


class _Down(nn.ModuleList):
    """The levels of the encoder."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level, finest first."""
        first, *others = self
        passed = [first(image)]
        for level in others:
            passed.append(level(halve(passed[-1])))
        return passed


class _Up(nn.Module):
    """A decoder level: a transposed convolution that doubles the size, and two convolutions."""

    def __init__(self, dims: int, inputs: int, skipped: int, width: int) -> None:
        super().__init__()
        self.enlarge = _TRANSPOSED[dims](inputs, inputs, kernel_size=2, stride=2)
        self.convolve = _pair(dims, inputs + skipped, width, width)

    def forward(self, features: torch.Tensor, skipped: torch.Tensor | None) -> torch.Tensor:
        features = self.enlarge(features)
        if skipped is not None:
            features = torch.cat([features, skipped], 1)
        convolved: torch.Tensor = self.convolve(features)
        return convolved


def _pair(dims: int, inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_convolution(dims, inputs, middle), _convolution(dims, middle, outputs))


def _convolution(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=CONVOLUTION[dims](inputs, outputs, kernel_size=3, padding=1),
            norm=NORM[dims](outputs),
            relu=nn.ReLU(inplace=True),
        )
    )


def check(sizes: Sizes) -> None:
    """Check that the number of filters is even and that the crop's edges can be halved at each level."""
    if sizes.filters % 2:
        raise ValueError(f"filters: expected an even number for {sizes.name}, got {sizes.filters}")
    sizes.check_multiple(STRIDE)


def build(sizes: Sizes) -> Network:
    """Build the U-Net, with skip connections for the name nsunet-skips."""
    skips = sizes.name == "nsunet-skips"
    module = NsUNet(sizes.channels, sizes.outputs, sizes.filters, skips=skips, dims=sizes.dims)
    encoder = tuple(
        f"down.{level}.{place}.{tensor}" for level in range(LEVELS + 1) for place in range(2) for tensor in _TENSORS
    )
    return Network(
        module=module,
        tensors=tuple(module.state_dict()),
        encoder=encoder,
        head=("output.weight", "output.bias"),
        features=NsEncoder(module),
        width=module.widths[-1],
        strides=(STRIDE if sizes.dims == 3 else 1, STRIDE, STRIDE),
        dims=sizes.dims,
        about=sizes.about,
    )


_TENSORS = (
    "conv.weight",
    "conv.bias",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
)
"""Names of the tensors of a convolution and its batch norm."""
