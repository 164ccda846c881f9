"""Creation and loading of optimisers: AdamW, and SGD with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

OptimizerName = Literal["adamw", "sgd"]

MOMENTUM = 0.99
"""Default momentum of SGD, as in nnU-Net."""


def build_optimizer(
    module: nn.Module,
    name: OptimizerName,
    *,
    lr: float,
    weight_decay: float,
    momentum: float = MOMENTUM,
    nesterov: bool = True,
    encoder: Iterable[nn.Parameter] = (),
    encoder_lr_scale: float = 1.0,
) -> torch.optim.Optimizer:
    """Return the optimiser of a module's parameters.

    AdamW does not decay norms and biases; SGD decays every parameter, as nnU-Net and the public code of PCRLv2 do.

    Parameters
    ----------
    module : nn.Module
        On its device.
    name : "adamw" or "sgd"
    lr, weight_decay : float
    momentum : float
        Momentum of SGD.
    nesterov : bool
        Whether SGD uses Nesterov momentum.
    encoder : iterable of nn.Parameter
        Parameters whose learning rate is scaled.
    encoder_lr_scale : float
        Factor of their learning rate; `set_rate` applies it.
    """
    chosen = {id(parameter) for parameter in encoder} if encoder_lr_scale != 1 else set()
    groups: list[dict[str, Any]] = []
    for scale, inside in ((1.0, False), (encoder_lr_scale, True)):
        parameters = [parameter for parameter in module.parameters() if (id(parameter) in chosen) == inside]
        if not parameters:
            continue
        if name == "sgd":
            groups.append({"params": parameters, "lr_scale": scale})
        else:
            groups.append({"params": [p for p in parameters if p.ndim > 1], "lr_scale": scale})
            groups.append({"params": [p for p in parameters if p.ndim <= 1], "lr_scale": scale, "weight_decay": 0.0})
    if name == "sgd":
        nesterov = nesterov and momentum > 0
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    on_gpu = next(module.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=on_gpu)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


_OF_THE_SETTINGS = ("weight_decay", "momentum", "nesterov", "lr_scale")
"""Options of a group that are not loaded from a checkpoint."""


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of a checkpoint, except the weight decay and the momentum."""
    options = [{name: group[name] for name in _OF_THE_SETTINGS if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            # The fused step needs the memory format of the weights, which may have changed.
            if value is not None and value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter).copy_(value)
