"""MONAI's `DynUNet` with the topology of nnU-Net, the default network.

Its strided and transposed convolutions have deterministic CUDA backward passes, unlike 3-D max-pooling and trilinear
upsampling.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dali_cr.volume.geometry import Triple

from .network import Levels, Network, Sizes
from .weights import first_names

SMALLEST_EDGE = 4
"""Minimum number of voxels of an axis after halving."""

ARCHITECTURE = "monai.networks.nets.DynUNet"
"""The class that weights say they are of."""

WIDEST = 320
"""Maximum number of channels of a level, as in nnU-Net for 3-D."""

_COARSEST_EDGE = 16
"""Number of voxels of an axis at the coarsest level from which a crop is rejected."""

_BLOCK = (
    "conv1.conv.weight",
    "norm1.weight",
    "norm1.bias",
    "conv2.conv.weight",
    "norm2.weight",
    "norm2.bias",
)
"""Names of the tensors of an encoder level."""


def halvings(crop: Triple) -> list[tuple[int, ...]]:
    """Return the stride of each level after the first: 2 along axes that can be halved, else 1.

    Raises
    ------
    ValueError
        If an axis cannot be halved often enough, so that the receptive field would be too small.

    Examples
    --------
    >>> halvings((8, 32, 32))
    [(2, 2, 2), (1, 2, 2), (1, 2, 2)]
    """
    levels: list[tuple[int, ...]] = []
    edges: tuple[int, ...] = crop
    while True:
        stride = tuple(2 if edge % 2 == 0 and edge // 2 >= SMALLEST_EDGE else 1 for edge in edges)
        if stride == (1, 1, 1):
            break
        edges = tuple(edge // step for edge, step in zip(edges, stride, strict=True))
        levels.append(stride)
    for axis, wanted, left in zip("DHW", crop, edges, strict=True):
        if left >= _COARSEST_EDGE:
            step = 2 ** ((wanted // SMALLEST_EDGE).bit_length() - 1)
            near = wanted // step * step
            raise ValueError(
                f"crop: expected edges that can be halved to fewer than {_COARSEST_EDGE} voxels, got {wanted} along "
                f"{axis}, which stops at {left}; use {near} or {near + step}"
            )
    return levels


class DynUNetEncoder(nn.Module):
    """The encoder of a DynUNet."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.input_block, self.downsamples, self.bottleneck = unet.input_block, unet.downsamples, unet.bottleneck

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the coarsest features."""
        features = self.input_block(image)
        for level in self.downsamples:
            features = level(features)
        coarsest: torch.Tensor = self.bottleneck(features)
        return coarsest


def check(sizes: Sizes) -> None:
    """Check that a crop has at least two halvings.

    Raises
    ------
    ValueError
        With a valid crop.
    """
    if len(sizes.levels.strides if sizes.levels else halvings(sizes.crop)) < 2:
        raise ValueError(
            f"crop: expected an edge that can be halved twice to {SMALLEST_EDGE} voxels or more for dynunet, got "
            f"{' '.join(map(str, sizes.crop))}; use 16 voxels along one axis"
        )


def levels_of(sizes: Sizes) -> Levels:
    """Return the levels that a network gets: those that were asked for, or those of its crop and filters."""
    given = sizes.levels
    strides = given.strides if given else tuple((one[0], one[1], one[2]) for one in halvings(sizes.crop))
    widths = tuple(min(sizes.filters * 2**level, max(WIDEST, sizes.filters)) for level in range(len(strides) + 1))
    depth, height, width = (1 if edge == 1 else 3 for edge in sizes.crop)
    kernels = given.kernels if given and given.kernels else ((depth, height, width),) * (len(strides) + 1)
    return Levels(strides, given.widths if given else widths, kernels)


def describe(sizes: Sizes) -> dict[str, Any]:
    """Return the class and the arguments that make the network, JSON-able.

    Where all levels have one kernel; where they differ, MONAI's own has other kernels on the way up (see `planned`).

    Returns
    -------
    dict
        `class`, a dotted name; `arguments`, beside ``in_channels`` and ``out_channels``; `imported`, those of the
        arguments that are dotted names of classes: none.
    """
    first, levels = 3 - sizes.dims, levels_of(sizes)
    assert levels.kernels
    steps = [list(stride[first:]) for stride in levels.strides]
    arguments = {
        "spatial_dims": sizes.dims,
        "kernel_size": [list(kernel[first:]) for kernel in levels.kernels],
        "strides": [[1] * sizes.dims, *steps],
        "upsample_kernel_size": steps,
        "filters": list(levels.widths),
    }
    return {"class": ARCHITECTURE, "arguments": arguments, "imported": []}


def build(sizes: Sizes) -> Network:
    """Build a DynUNet with levels from the crop, or with the given levels."""
    # Imported here, since the import takes seconds, which --help and input errors should not.
    from .planned import PlannedUNet

    about, levels = describe(sizes), levels_of(sizes)
    module = PlannedUNet(in_channels=sizes.channels, out_channels=sizes.outputs, **about["arguments"])
    tensors = first_names(module)  # `skip_layers` holds the other modules a second time
    blocks = ["input_block", *(f"downsamples.{level}" for level in range(len(levels.strides) - 1)), "bottleneck"]
    return Network(
        module=module,
        tensors=tensors,
        encoder=tuple(f"{block}.{tensor}" for block in blocks for tensor in _BLOCK),
        head=tuple(name for name in tensors if name.startswith("output_block.")),
        features=DynUNetEncoder(module),
        width=levels.widths[-1],
        least_cells=2,
        strides=tuple(math.prod(stride[axis] for stride in levels.strides) for axis in range(3)),  # type: ignore[arg-type]
        dims=sizes.dims,
        about=sizes.about | {"architecture": about},
    )
