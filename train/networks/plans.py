"""Conversion from and to nnU-Net: levels from its plans, and weights for its networks.

MONAI's `DynUNet` and nnU-Net's `PlainConvUNet` compute the same function: stages of two convolutions with instance norm
and leaky ReLU, strided in the encoder, with transposed convolutions and concatenation in the decoder. nnU-Net's
convolutions have biases, which the following norm cancels; the biases of transposed convolutions are set to zero. If
kernel sizes differ between levels, as for thick slices, `train.networks.planned` follows nnU-Net.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dali_cr.volume.geometry import Triple

from .network import Levels


def read_levels(path: Path, configuration: str, crop: Triple, dims: int = 3) -> Levels:
    """Read the levels of a U-Net from plans, and check that a crop suits them.

    Parameters
    ----------
    path : Path
    configuration : str
        Name of the configuration, such as "3d_fullres" or "2d".
    crop : (D, H, W) int
    dims : 2 or 3
        Dimensions that the configuration must have.

    Raises
    ------
    ValueError
        If the plans are of another kind of network, or the crop's edges are not multiples of the strides.
    """
    if not path.is_file():
        raise ValueError(f"plans: expected the nnUNetPlans.json of a preprocessed data set, {path} does not exist")
    try:
        plans = json.loads(path.read_text(encoding="utf-8"))
        architecture = _find_architecture(plans["configurations"], configuration)
        sizes = architecture["arch_kwargs"]
        _check_kind(architecture["network_class_name"], sizes, dims)
        order = plans.get("transpose_forward", [0, 1, 2])
        if dims == 3 and order != [0, 1, 2]:
            raise ValueError(f"expected transpose_forward [0, 1, 2], got {order}: the first axis of the plans is not D")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"plans: {path}: {reason}") from error
    strides, kernels = _triples(sizes["strides"]), _triples(sizes["kernel_sizes"])
    for axis, edge, step in zip("DHW", crop, torch.tensor(strides).prod(0).tolist(), strict=True):
        if edge % step:
            raise ValueError(f"crop: expected a multiple of {step} along {axis}, for the strides of {path}, got {edge}")
    usual = set(kernels) == {(3 if dims == 3 else 1, 3, 3)}
    return Levels(strides[1:], tuple(sizes["features_per_stage"]), None if usual else kernels)


def _find_architecture(configurations: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the architecture of a configuration, following `inherits_from`."""
    asked, seen = name, set[str]()
    while True:
        if name not in configurations or name in seen:
            raise ValueError(f"expected one of the configurations {', '.join(configurations)}, got {name}")
        one = configurations[name]
        if one.get("previous_stage"):
            raise ValueError(f"expected a configuration whose input is images only, {asked} is part of a cascade")
        if "architecture" in one:
            architecture: Mapping[str, Any] = one["architecture"]
            return architecture
        if "inherits_from" not in one:
            raise ValueError(f"expected an architecture for {asked}, as in plans of nnU-Net 2.4 and later")
        seen.add(name)
        name = one["inherits_from"]


def _check_kind(kind: str, sizes: Mapping[str, Any], dims: int) -> None:
    """Check that the network is equivalent to a `PlannedUNet`."""
    stages = len(sizes["features_per_stage"])
    wanted = {
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "nonlin": "torch.nn.LeakyReLU",
        "dropout_op": None,
    }
    if not kind.endswith(".PlainConvUNet"):
        raise ValueError(f"expected a PlainConvUNet, as from nnU-Net's default planner, got {kind.split('.')[-1]}")
    if stages < 3:
        raise ValueError(f"expected three stages or more, got {stages}")
    for name, value in wanted.items():
        if sizes[name] != value:
            raise ValueError(f"expected {name} {value}, got {sizes[name]}: the network would not be equivalent")
    for name, known in (("kernel_sizes", {1, 3}), ("strides", {1, 2})):
        if len(sizes[name]) != stages or any(len(one) != dims or not set(one) <= known for one in sizes[name]):
            raise ValueError(f"expected {name} of {dims} numbers in {known} for each stage, got {sizes[name]}")
    if sizes["strides"][0] != [1] * dims:
        raise ValueError(f"expected a first stage without a stride, got {sizes['strides'][0]}")


def _triples(rows: list[list[int]]) -> tuple[Triple, ...]:
    """Return rows along (H, W) or (D, H, W) as (D, H, W), with 1 along a missing D."""
    return tuple((1, row[0], row[1]) if len(row) == 2 else (row[0], row[1], row[2]) for row in rows)


def to_nnunet(tensors: Mapping[str, torch.Tensor], stages: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a DynUNet under the names of a `PlainConvUNet`, including biases and second names.

    The output layers, ``decoder.seg_layers``, are excluded, so that nnU-Net keeps its own. Of a run that trained the
    encoder alone, only the encoder is returned.
    """
    decoder = any(name.startswith("upsamples.") for name in tensors)
    down = ["input_block", *(f"downsamples.{level}" for level in range(stages - 2)), "bottleneck"]
    out: dict[str, torch.Tensor] = {}
    for level, block in enumerate(down):
        for prefix in ("encoder", "decoder.encoder") if decoder else ("encoder",):
            out |= dict(_stage(tensors, block, f"{prefix}.stages.{level}.0"))
    for level in range(stages - 1) if decoder else ():
        out |= dict(_stage(tensors, f"upsamples.{level}.conv_block", f"decoder.stages.{level}"))
        weight = tensors[f"upsamples.{level}.transp_conv.conv.weight"]
        out[f"decoder.transpconvs.{level}.weight"] = weight
        out[f"decoder.transpconvs.{level}.bias"] = weight.new_zeros(weight.shape[1])
    return out


def nnunet_names(names: Iterable[str]) -> dict[str, str]:
    """Return which tensors of a `PlainConvUNet` are those of a DynUNet's encoder.

    The biases of its convolutions are dropped: the norm that follows cancels them.

    Parameters
    ----------
    names : iterable of str
        Of a state dict.

    Returns
    -------
    dict
        From our name to nnU-Net's; empty where the names are not those of stages of two convolutions.
    """
    found = [match for match in map(_STAGE.fullmatch, names) if match]
    deepest = max((int(match["stage"]) for match in found), default=0)
    ours: dict[str, str] = {}
    for match in found:
        stage, number = int(match["stage"]), int(match["number"]) + 1
        block = "input_block" if stage == 0 else "bottleneck" if stage == deepest else f"downsamples.{stage - 1}"
        if match["module"] == "norm":
            ours[f"{block}.norm{number}.{match['tensor']}"] = match[0]
        elif match["tensor"] == "weight":
            ours[f"{block}.conv{number}.conv.weight"] = match[0]
    return ours


_STAGE = re.compile(
    r"encoder\.stages\.(?P<stage>\d+)\.0\.convs\.(?P<number>[01])\.(?P<module>conv|norm)\.(?P<tensor>weight|bias)"
)


def _stage(tensors: Mapping[str, torch.Tensor], block: str, stage: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of the two convolutions and norms of a stage, each under both of its names."""
    for number in (1, 2):
        weight = tensors[f"{block}.conv{number}.conv.weight"]
        convolution = {"weight": weight, "bias": weight.new_zeros(len(weight))}
        norm = {name: tensors[f"{block}.norm{number}.{name}"] for name in ("weight", "bias")}
        for name in ("weight", "bias"):
            for place, module in (("conv", convolution), ("norm", norm)):
                yield f"{stage}.convs.{number - 1}.{place}.{name}", module[name]
                yield f"{stage}.convs.{number - 1}.all_modules.{int(place == 'norm')}.{name}", module[name]
