"""A network of ours as one of nnU-Net's: its class, the class's arguments, and the weights under its names.

Classes and names are those of `dynamic_network_architectures` (0.4), which nnU-Net and nnssl build their networks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..networks import dynunet
from ..networks.build import sizes_of
from ..networks.network import Levels, Sizes
from ..networks.plans import to_nnunet

_ROOM = "dynamic_network_architectures.architectures.unet"

_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
"""Arguments that are dotted names of classes, or None."""


@dataclass(frozen=True)
class Architecture:
    """A network as nnU-Net builds it."""

    class_name: str
    """Dotted."""
    arguments: dict[str, Any]
    """Of the class, but for channels and classes; classes among them as dotted names."""
    weights: dict[str, torch.Tensor]
    """Under the names of the class, each layer under both; without the layers that make its output."""
    encoder: str
    """What the encoder's names begin with."""
    stem: str
    """What the names of its first layers begin with."""
    projections: tuple[str, ...]
    """Both names of the convolution that sees the image."""

    @property
    def plan(self) -> dict[str, Any]:
        """As a plan has it."""
        return {
            "arch_class_name": self.class_name,
            "arch_kwargs": self.arguments,
            "arch_kwargs_requiring_import": list(_IMPORTED),
        }


def express(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Architecture:
    """Return a run's network as nnU-Net builds it.

    Parameters
    ----------
    about : mapping
        What the weights' file says of them.
    tensors : mapping of str to torch.Tensor
        Of model.safetensors.

    Raises
    ------
    ValueError
        If nnU-Net has no such network.
    """
    name, dims = about["network"], about.get("dims", 3)
    if name not in _NETWORKS:
        raise ValueError(
            f"network: expected {' or '.join(_NETWORKS)}, whose layers nnU-Net's networks have, got {name}; pre-train "
            f"with --network {next(iter(_NETWORKS))}"
        )
    if dims != 3:
        raise ValueError(
            f"dims: expected 3, nnU-Net takes pre-trained weights into 3d_fullres alone; got {dims}. Pre-train with "
            "--plans, --configuration 2d, and dali-cr export RUN -o FILE writes weights for -pretrained_weights"
        )
    crop = tuple(about["crop"])
    sizes = sizes_of(name, about["channels"], crop, about["filters"], about["outputs"], Levels.of(about), dims)
    return _NETWORKS[name](sizes, tensors)


def _plain(sizes: Sizes, tensors: Mapping[str, torch.Tensor]) -> Architecture:
    """Return a dynunet as a PlainConvUNet: its first stage is the stem."""
    levels = dynunet.levels_of(sizes)
    assert levels.kernels
    stages = len(levels.widths)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(levels.widths),
        "kernel_sizes": [list(kernel) for kernel in levels.kernels],
        "strides": [[1, 1, 1], *map(list, levels.strides)],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        **LAYERS,
    }
    return Architecture(
        f"{_ROOM}.PlainConvUNet",
        arguments,
        to_nnunet(tensors, stages),
        encoder="encoder.stages",
        stem="encoder.stages.0",
        projections=("encoder.stages.0.0.convs.0.conv", "encoder.stages.0.0.convs.0.all_modules.0"),
    )


LAYERS: dict[str, Any] = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
"""The layers of all of them, as nnU-Net's planners write them."""

_NETWORKS: dict[str, Callable[[Sizes, Mapping[str, torch.Tensor]], Architecture]] = {"dynunet": _plain}
