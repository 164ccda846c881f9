"""ResNet-18 U-Net without skip connections, the 2-D network of PCRLv2, and the same encoder with skip connections.

The public code (RL4M/PCRLv2, ``models/pcrlv2_model.py``) takes the U-Net of segmentation_models_pytorch and removes its
skips: five decoder levels of nearest upsampling and two convolutions. Here the encoder is MONAI's `ResNet`, with the
layers and tensor names of torchvision's ``resnet18``, and the decoder is MONAI's `UNetDecoder`, which follows
segmentation_models_pytorch; both compute the same function from the same weights. The classification head is that of
the public code: global average pooling, dropout and a linear layer.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn

from ..network import Network, Sizes

ARCHITECTURE = "monai.networks.nets.resnet.ResNet"
"""Class of the encoder."""

LEVELS = 5
"""Levels of the decoder, one for each halving of the encoder."""

STRIDE = 2**LEVELS
"""Voxels per coarsest feature along H and W."""

_DROPOUT = 0.2
"""Dropout of the classification head, as in the public code."""


class ResNetUNet(nn.Module):
    """ResNet encoder and U-Net decoder.

    Parameters
    ----------
    encoder : ResNetEncoder
    decoder : monai.networks.nets.flexible_unet.UNetDecoder
    widths : tuple of int
        Channels of the decoder's levels, the coarsest first.
    outputs : int
    skips : bool
        Whether the decoder gets the encoder's features of each level.

    References
    ----------
    Zhou et al.: A unified visual information preservation framework for self-supervised pre-training in medical image
    analysis. TPAMI 45(7), 2023.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, widths: tuple[int, ...], outputs: int, skips: bool
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.output = nn.Conv2d(widths[-1], outputs, kernel_size=3, padding=1)
        self.level_widths, self.skips, self.dims = widths, skips, 2

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, H, W) from (B, C, H, W), without an activation."""
        answer: torch.Tensor = self.output(self.pyramid(image)[-1])
        return answer

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that `pyramid` calls."""
        return [self.encoder, *self.decoder.blocks]  # type: ignore[misc] # a ModuleList

    def pyramid(self, image: torch.Tensor, levels: int | None = None) -> list[torch.Tensor]:
        """Return the features of the decoder's first levels, coarsest first; later levels are not computed."""
        *passed, features = self.encoder(image)
        skipped = [*reversed(passed), None] if self.skips else [None] * LEVELS
        pyramid = []
        for level, skip in islice(zip(self.parts[1:], skipped, strict=True), levels):
            features = level(features, skip)
            pyramid.append(features)
        return pyramid


class Features(nn.Module):
    """The encoder alone; its parameters are shared and have the same names."""

    def __init__(self, unet: ResNetUNet) -> None:
        super().__init__()
        self.encoder = unet.encoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the coarsest features."""
        features: torch.Tensor = self.encoder(image)[-1]
        return features


class ResNetHead(nn.Module):
    """Global average pooling, dropout and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(_DROPOUT), nn.Linear(width, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes)."""
        logits: torch.Tensor = self.linear(self.dropout(features.flatten(2).mean(2)))
        return logits


def describe(sizes: Sizes) -> dict[str, Any]:
    """Return the class and arguments of the encoder, JSON-compatible.

    Returns
    -------
    dict
        `class`, a dotted name; `arguments` without ``n_input_channels``; `imported`, the names of arguments that are
        dotted names of classes: none.
    """
    arguments = {
        "block": "basic",
        "layers": [2, 2, 2, 2],
        "block_inplanes": [sizes.filters * 2**stage for stage in range(4)],
        "spatial_dims": 2,
        "conv1_t_stride": 2,
        "feed_forward": False,
        "bias_downsample": False,
    }
    return {"class": ARCHITECTURE, "arguments": arguments, "imported": []}


def check(sizes: Sizes) -> None:
    """Check that the network is 2-D and that the edges of the crop can be halved five times."""
    if sizes.dims != 2:
        raise ValueError(f"dims: expected 2 for {sizes.name}, got {sizes.dims}; use nsunet or resenc-l for volumes")
    sizes.check_multiple(STRIDE)


def build(sizes: Sizes) -> Network:
    """Build the network with the initialisation of segmentation_models_pytorch."""
    # Imported here, since it takes time and --help does not need it.
    from monai.networks.nets.flexible_unet import UNetDecoder

    from .encoder import ResNetEncoder

    about, filters, skips = describe(sizes), sizes.filters, sizes.name.endswith("-skips")
    encoder = ResNetEncoder(n_input_channels=sizes.channels, **about["arguments"])
    width = 8 * filters
    skipped = (filters, filters, 2 * filters, 4 * filters) if skips else (0, 0, 0, 0)
    widths = tuple(max(1, width // 2**level) for level in range(1, LEVELS + 1))
    decoder = UNetDecoder(
        spatial_dims=2,
        encoder_channels=(sizes.channels, *skipped, width),
        decoder_channels=widths,
        act=("relu", {"inplace": True}),
        norm="batch",
        dropout=0.0,
        bias=False,
        upsample="nontrainable",
        pre_conv=None,
        interp_mode="nearest",
        align_corners=None,
        is_pad=False,
    )
    module = ResNetUNet(encoder, decoder, widths, sizes.outputs, skips)
    _initialize(module)
    tensors = tuple(module.state_dict())
    return Network(
        module=module,
        tensors=tensors,
        encoder=tuple(name for name in tensors if name.startswith("encoder.")),
        head=("output.weight", "output.bias"),
        features=Features(module),
        width=width,
        strides=(1, STRIDE, STRIDE),
        classifier=partial(ResNetHead, width),
        dims=2,
        about={**sizes.about, "architecture": about},
    )


def _initialize(unet: ResNetUNet) -> None:
    """Draw the weights of decoder and output as segmentation_models_pytorch does; MONAI has drawn the encoder's."""
    for part in unet.decoder.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight, nonlinearity="relu")
    nn.init.xavier_uniform_(unet.output.weight)
    nn.init.zeros_(unet.output.bias)  # type: ignore[arg-type] # there is one
