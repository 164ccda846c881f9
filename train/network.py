"""Networks by name, each with the list of tensors that make up its encoder.

What is pre-trained is worth keeping only as far as the next task can take it over, so a network states which of its
tensors are the encoder, one by one, instead of leaving it to a prefix that a second module may share. The default is
MONAI's `DynUNet` (nnU-Net's topology): its strided and transposed convolutions have deterministic CUDA backward
passes, which max-pooling and trilinear upsampling in 3-D have not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

SMALLEST_EDGE = 4
"""An axis is halved as long as at least so many voxels of it remain."""

WIDEST = 320
"""Most channels of a level, as in nnU-Net: doubled further, they cost memory and bring nothing in 3-D."""

_COARSEST_EDGE = 16
"""An axis that still has so many voxels at the bottom of the network was not halvable, and its crop is refused."""


@dataclass(frozen=True)
class Levels:
    """The levels of a U-Net, where they are not derived from a crop."""

    strides: tuple[tuple[int, int, int], ...]
    """Of each level after the first."""
    widths: tuple[int, ...]
    """Channels of each level."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Levels | None:
        """Return the levels that a network's `about` names, None where they were derived from its crop."""
        known = about.get("levels")
        return known and cls(tuple(map(tuple, known["strides"])), tuple(known["widths"]))


@dataclass(frozen=True, kw_only=True)
class Network:
    """A module that maps (B, C, D, H, W) to as many voxels, and the names of its tensors."""

    module: nn.Module
    """What is trained."""
    tensors: tuple[str, ...]
    """Every tensor of its ``state_dict()`` once, without the second names that MONAI's module tree gives to some."""
    encoder: tuple[str, ...]
    """Of these, the ones to take over into a network for another task."""
    head: tuple[str, ...]
    """Of these, the ones that make the output, and are new in every task."""
    features: nn.Module
    """The encoder alone, of the same parameters: from (B, C, D, H, W) to the coarsest features; its ``state_dict()``
    has the tensors of `encoder`, under the same names."""
    width: int
    """Channels of these features."""
    strides: tuple[int, int, int]
    """Voxels along D, H and W that are one of these features; a crop's edges are multiples of them."""
    about: dict[str, Any] = field(default_factory=dict)
    """What to call to build it again, JSON-able."""

    @property
    def parameters(self) -> int:
        """The number of trained numbers."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def build_network(
    name: str,
    channels: int,
    crop: tuple[int, int, int],
    filters: int = 16,
    outputs: int | None = None,
    levels: Levels | None = None,
) -> Network:
    """Build a network for a crop.

    Parameters
    ----------
    name : str
        A key of `NETWORKS`.
    channels : int
        Channels of a case, which go in.
    crop : (D, H, W) int
        Voxels of a crop.
    filters : int
        Channels of the first level.
    outputs : int, optional
        Channels that come out; as many as go in, to restore, if not given.
    levels : Levels, optional
        In place of those that crop and filters would make.

    Returns
    -------
    Network
        With freshly drawn weights, from torch's global random state.

    Raises
    ------
    ValueError
        When there is no network of this name, or it cannot be sized to the crop.

    Examples
    --------
    >>> build_network("dynunet", channels=1, crop=(32, 48, 32)).parameters
    1401153
    """
    if name not in NETWORKS:
        raise ValueError(f"network is wanted as one of {', '.join(sorted(NETWORKS))}; {name!r} came")
    outputs = channels if outputs is None else outputs
    if channels < 1 or filters < 1 or outputs < 1:
        raise ValueError(
            f"at least one channel, one filter and one output are wanted; {channels}, {filters} and {outputs} came"
        )
    return NETWORKS[name](channels, crop, filters, outputs, levels)


def halvings(crop: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """Return the stride of each level after the first: 2 along an axis that can still be halved, else 1.

    Raises
    ------
    ValueError
        When an axis stays long because it cannot be halved often enough: the network would see little of it.

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
                f"an edge of the crop is wanted that can be halved down to less than {_COARSEST_EDGE} voxels; "
                f"{wanted} along {axis} stops at {left}. {near} or {near + step} would do"
            )
    return levels


class DynUNetEncoder(nn.Module):
    """The levels of a DynUNet on the way down, without its decoder."""

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


def _dynunet(
    channels: int, crop: tuple[int, int, int], filters: int, outputs: int, levels: Levels | None = None
) -> Network:
    # Imported here: it takes seconds, and --help or a typing error should not.
    from monai.networks.nets import DynUNet

    strides = list(levels.strides) if levels else halvings(crop)
    kernel = tuple(1 if edge == 1 else 3 for edge in crop)
    widths = [min(filters * 2**level, max(WIDEST, filters)) for level in range(len(strides) + 1)]
    if levels:
        widths = list(levels.widths)
    if len(widths) < 3:
        raise ValueError(
            f"dynunet wants a crop with an edge that can be halved twice and stay at {SMALLEST_EDGE} voxels or more; "
            f"{crop} came. 16 voxels along one axis would do"
        )
    module = DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=outputs,
        kernel_size=[kernel] * len(widths),
        strides=[(1, 1, 1), *strides],
        upsample_kernel_size=strides,
        filters=widths,
    )
    # `skip_layers` holds the other modules a second time.
    tensors = tuple(name for name in module.state_dict() if not name.startswith("skip_layers."))
    blocks = ["input_block", *(f"downsamples.{level}" for level in range(len(widths) - 2)), "bottleneck"]
    encoder = tuple(f"{block}.{tensor}" for block in blocks for tensor in _BLOCK)
    about = {"network": "dynunet", "channels": channels, "crop": list(crop), "filters": filters, "outputs": outputs}
    about |= {"levels": asdict(levels)} if levels else {}
    return Network(
        module=module,
        tensors=tensors,
        encoder=encoder,
        head=tuple(name for name in tensors if name.startswith("output_block.")),
        features=DynUNetEncoder(module),
        width=widths[-1],
        strides=tuple(math.prod(stride[axis] for stride in strides) for axis in range(3)),  # type: ignore[arg-type]
        about=about,
    )


_BLOCK = (
    "conv1.conv.weight",
    "norm1.weight",
    "norm1.bias",
    "conv2.conv.weight",
    "norm2.weight",
    "norm2.bias",
)
"""The tensors of one level of DynUNet's encoder."""

NETWORKS: dict[str, Callable[[int, tuple[int, int, int], int, int, Levels | None], Network]] = {"dynunet": _dynunet}
"""From a name to the function of (channels, crop, filters, outputs, levels) that builds it."""
