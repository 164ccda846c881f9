"""nnU-Net's residual encoder U-Net (ResEnc), from the package dynamic-network-architectures, with or without skips.

`resenc-l` is "ResEncL" of nnssl: six stages, which nnU-Net accepts as a pre-trained encoder. `resenc-s` is a small
version for CPUs (project choice). Tensors have the names of the package. Without skips, as in NoSkipResEncL of nnssl,
the decoder gets only the coarsest features, and each of its stages is a transposed convolution and a convolution.
"""

from __future__ import annotations

import pydoc
from itertools import islice
from typing import Any

import torch
from torch import nn

from .network import Network, Sizes
from .pooling import HalvingMean
from .weights import first_names

BLOCKS = {"resenc-l": (1, 3, 4, 6, 6, 6), "resenc-s": (1, 2, 2, 2)}
"""Residual blocks of each stage; each stage after the first halves the resolution."""

WIDEST = 320
"""Maximum number of channels of a stage, unless the first has more."""

ARCHITECTURE = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
"""Class of the network with skips; without skips the encoder is the same."""

IMPORTED = ("conv_op", "norm_op", "nonlin")
"""Arguments that are dotted names of classes."""

_TRANSPOSED = {nn.Conv2d: nn.ConvTranspose2d, nn.Conv3d: nn.ConvTranspose3d}


def describe(sizes: Sizes) -> dict[str, Any]:
    """Return the class and arguments of the network with skips as in nnU-Net's plans, JSON-compatible.

    Returns
    -------
    dict
        `class`, a dotted name; `arguments` without ``input_channels`` and ``num_classes``; `imported`, the names of
        arguments that are dotted names of classes.
    """
    blocks, dims = BLOCKS[sizes.name], sizes.dims
    stages = len(blocks)
    widest = max(WIDEST, sizes.filters)
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(sizes.filters * 2**stage, widest) for stage in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[3] * dims for _ in blocks],
        "strides": [[1 if stage == 0 else 2] * dims for stage in range(stages)],
        "n_blocks_per_stage": list(blocks),
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {"class": ARCHITECTURE, "arguments": arguments, "imported": list(IMPORTED)}


class ResidualEncoder(nn.Module):
    """The encoder alone; its parameters are shared and have the same names."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.encoder = unet.encoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the coarsest features."""
        features: torch.Tensor = self.encoder(image)[-1]
        return features


class NoSkipUNet(nn.Module):
    """A residual encoder with a decoder that gets only its coarsest features.

    Parameters
    ----------
    encoder : dynamic_network_architectures.building_blocks.residual_encoders.ResidualEncoder
        Returns the features of each stage.
    outputs : int
    """

    def __init__(self, encoder: Any, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = NoSkipDecoder(encoder, outputs)
        self.dims = len(encoder.strides[0])
        self.level_widths = tuple(encoder.output_channels[-2::-1])
        """Channels of the decoder's levels, the coarsest first."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, ...) from (B, C, ...), of the same size."""
        return self.output(self.pyramid(image)[-1])

    def pyramid(self, image: torch.Tensor, levels: int | None = None) -> list[torch.Tensor]:
        """Return the features of the decoder's first levels, coarsest first; later levels are not computed."""
        features, pyramid = self.encoder(image)[-1], []
        stages = zip(self.decoder.transpconvs, self.decoder.stages, strict=True)
        for enlarge, convolve in islice(stages, levels):
            features = convolve(enlarge(features))
            pyramid.append(features)
        return pyramid

    def output(self, features: torch.Tensor) -> torch.Tensor:
        """Return the output from the finest level."""
        restored: torch.Tensor = self.decoder.seg_layer(features)
        return restored

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that `pyramid` calls."""
        return [self.encoder, *self.decoder.transpconvs, *self.decoder.stages]


class NoSkipDecoder(nn.Module):
    """A transposed convolution and a convolution for each stage except the first, and the output layer."""

    def __init__(self, encoder: Any, outputs: int) -> None:
        super().__init__()
        from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks

        transposed, widths = _TRANSPOSED[encoder.conv_op], encoder.output_channels
        self.stages, self.transpconvs = nn.ModuleList(), nn.ModuleList()
        for stage in range(len(widths) - 1, 0, -1):
            width = widths[stage - 1]
            stride: Any = tuple(encoder.strides[stage])
            self.transpconvs.append(transposed(widths[stage], width, stride, stride, bias=encoder.conv_bias))
            self.stages.append(
                StackedConvBlocks(
                    num_convs=1,
                    conv_op=encoder.conv_op,
                    input_channels=width,
                    output_channels=width,
                    kernel_size=encoder.kernel_sizes[stage - 1],
                    initial_stride=1,
                    conv_bias=encoder.conv_bias,
                    norm_op=encoder.norm_op,
                    norm_op_kwargs=encoder.norm_op_kwargs,
                    nonlin=encoder.nonlin,
                    nonlin_kwargs=encoder.nonlin_kwargs,
                )
            )
        self.seg_layer = encoder.conv_op(widths[0], outputs, 1)


def stride_of(name: str) -> int:
    """Return the stride of the coarsest features, in voxels."""
    return int(2 ** (len(BLOCKS[name]) - 1))


def check(sizes: Sizes) -> None:
    """Check that a crop can be halved at each stage and has more than one voxel at the coarsest stage."""
    step = stride_of(sizes.name)
    sizes.check_multiple(step)
    seen = sizes.crop[3 - sizes.dims :]
    if all(edge == step for edge in seen):
        edges = " ".join(map(str, sizes.crop))
        raise ValueError(
            f"crop: expected more than one voxel at the coarsest stage of {sizes.name}, for its instance norm; got "
            f"{edges}; use edges of {2 * step}"
        )


def build(sizes: Sizes) -> Network:
    """Build the network with nnU-Net's initialisation."""
    # Imported here, since it takes time and --help does not need it.
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    about = describe(sizes)
    arguments = dict(about["arguments"])
    classes = {name: pydoc.locate(arguments[name]) for name in IMPORTED}
    unet = ResidualEncoderUNet(input_channels=sizes.channels, num_classes=sizes.outputs, **{**arguments, **classes})
    module = unet if sizes.skips else NoSkipUNet(unet.encoder, sizes.outputs)
    module.apply(ResidualEncoderUNet.initialize)
    for part in module.modules():
        if isinstance(part, nn.Sequential) and len(part) and isinstance(part[0], (nn.AvgPool2d, nn.AvgPool3d)):
            part[0] = HalvingMean()
    tensors = first_names(module)  # blocks register each layer twice, and the decoder registers the encoder
    step = stride_of(sizes.name)
    return Network(
        module=module,
        tensors=tensors,
        encoder=tuple(name for name in tensors if name.startswith("encoder.")),
        head=tuple(name for name in tensors if name.startswith("decoder.seg_layer")),
        features=ResidualEncoder(module),
        width=arguments["features_per_stage"][-1],
        least_cells=2,
        strides=(step if sizes.dims == 3 else 1, step, step),
        dims=sizes.dims,
        about={**sizes.about, "architecture": about},
    )
