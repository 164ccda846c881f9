"""Conversion of networks to nnU-Net's: class, arguments and weights as in `dynamic_network_architectures`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..networks import dynunet, resenc
from ..networks.build import FILTERS, sizes_of
from ..networks.network import Levels, Sizes
from ..networks.plans import to_nnunet

_PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"

_LAYERS: dict[str, Any] = {
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
"""Layers of a PlainConvUNet that is equivalent to a dynunet, as in nnU-Net's plans."""


@dataclass(frozen=True)
class Architecture:
    """A network in nnU-Net's form."""

    class_name: str
    """Dotted name of the class, or a name that nnU-Net knows."""
    arguments: dict[str, Any] | None
    """Arguments of the class except channels, with classes as dotted names; None for a name that nnU-Net knows."""
    imported: list[str] | None
    """Names of the arguments that are dotted names of classes."""
    weights: dict[str, torch.Tensor]
    """Weights by name in the class, under all names of a layer; without output layers."""
    encoder: str
    """Prefix of the encoder's names."""
    stem: str
    """Prefix of the stem's names."""
    projections: tuple[str, ...]
    """Both names of the input convolution."""

    @property
    def plan(self) -> dict[str, Any]:
        """The architecture as in a plan."""
        names = ("arch_class_name", "arch_kwargs", "arch_kwargs_requiring_import")
        return dict(zip(names, (self.class_name, self.arguments, self.imported), strict=True))

    @property
    def has_decoder(self) -> bool:
        """Whether the weights are of a whole U-Net, as needed for -pretrained_weights."""
        return any(name.startswith("decoder.stages") for name in self.weights)


def express(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Architecture:
    """Convert a run's network to nnU-Net's form.

    Parameters
    ----------
    about : mapping
        Metadata of the file of weights.
    tensors : mapping of str to torch.Tensor
        Content of model.safetensors.

    Raises
    ------
    ValueError
        If nnU-Net has no such network.
    """
    name, dims = about["network"], about.get("dims", 3)
    if name not in _NETWORKS:
        raise ValueError(
            f"network: expected one of {', '.join(_NETWORKS)}, which nnU-Net has too, got {name}; pre-train "
            "with --network resenc-l or dynunet"
        )
    if dims != 3:
        raise ValueError(
            f"dims: expected 3, the only one of nnU-Net's training from pre-trained weights, got {dims}; pre-train "
            "with --plans and --configuration 2d, and use dali-cr export RUN -o FILE for -pretrained_weights"
        )
    crop = tuple(about["crop"])
    known = {"levels": Levels.of(about), "dims": dims, "skips": about.get("skips")}
    sizes = sizes_of(name, about["channels"], crop, about["filters"], about["outputs"], **known)
    return _NETWORKS[name](sizes, tensors)


def _plain(sizes: Sizes, tensors: Mapping[str, torch.Tensor]) -> Architecture:
    """Convert a dynunet to a PlainConvUNet, whose first stage is the stem."""
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
        **_LAYERS,
    }
    return Architecture(
        _PLAIN,
        arguments,
        ["conv_op", "norm_op", "dropout_op", "nonlin"],
        to_nnunet(tensors, stages),
        encoder="encoder.stages",
        stem="encoder.stages.0",
        projections=("encoder.stages.0.0.convs.0.conv", "encoder.stages.0.0.convs.0.all_modules.0"),
    )


def _residual(sizes: Sizes, tensors: Mapping[str, torch.Tensor]) -> Architecture:
    """Convert a ResEnc; without skips only its encoder, since nnU-Net has no such decoder."""
    described = resenc.describe(sizes)
    known = sizes.name == "resenc-l" and sizes.filters == FILTERS["resenc-l"]
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder.") or (sizes.skips and not name.startswith("decoder.seg_layer"))
    }
    return Architecture(
        "ResEncL" if known else described["class"],
        None if known else described["arguments"],
        None if known else [*described["imported"], "dropout_op"],
        _under_every_name(kept, decoder=any(name.startswith("decoder.") for name in kept)),
        encoder="encoder.stages",
        stem="encoder.stem",
        projections=("encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"),
    )


def _under_every_name(tensors: Mapping[str, torch.Tensor], *, decoder: bool) -> dict[str, torch.Tensor]:
    """Add the second name of each layer, and the names of the encoder inside the decoder.

    Examples
    --------
    >>> list(_under_every_name({"encoder.stem.convs.0.norm.bias": torch.zeros(1)}, decoder=False))
    ['encoder.stem.convs.0.norm.bias', 'encoder.stem.convs.0.all_modules.1.bias']
    """
    named: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        named[name] = tensor
        named[re.sub(r"\.(conv|norm)\.(\w+)$", lambda found: _SECOND[found[1]] + found[2], name)] = tensor
    held = {f"decoder.{name}": tensor for name, tensor in named.items() if name.startswith("encoder.")}
    return named | (held if decoder else {})


_SECOND = {"conv": ".all_modules.0.", "norm": ".all_modules.1."}

_NETWORKS: dict[str, Callable[[Sizes, Mapping[str, torch.Tensor]], Architecture]] = {
    "dynunet": _plain,
    **dict.fromkeys(resenc.BLOCKS, _residual),
}
