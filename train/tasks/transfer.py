"""Transfer of pre-trained weights into a network for fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case

from ..networks.network import Network
from ..networks.weights import read_weights

Transfer = Literal["encoder", "encoder+decoder"]

_SHOWN = 3


@dataclass(frozen=True)
class Init:
    """Pre-trained weights."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]
    """Arguments that rebuild their network, and the recipe of their samples."""
    cases: tuple[Case, ...]
    """The cases of their pre-training run, held-out cases included."""

    @property
    def crop(self) -> tuple[int, int, int]:
        """The crop that the network was built for."""
        depth, height, width = self.about["crop"]
        return depth, height, width


def read_init(folder: Path) -> Init:
    """Read the weights and the cases of a pre-training run.

    Raises
    ------
    ValueError
        If the folder holds no pre-training run, or its index does not belong to the weights.
    """
    weights, index = folder / "model.safetensors", folder / "index.json"
    for path in (weights, index):
        if not path.is_file():
            raise ValueError(f"init: expected 'random' or the folder of a pre-training run, {path} is missing")
    tensors, about = read_weights(weights)
    if "task" in about:
        raise ValueError(
            f"init: expected a run of train.pretrain, {folder} is one of train.finetune {about['task']['name']}"
        )
    if "recipe" not in about:
        raise ValueError(f"init: expected a run of train.pretrain, {weights} has no recipe of samples")
    seen = dali_cr.Index.load(index)
    if about.get("index", seen.fingerprint) != seen.fingerprint:
        raise ValueError(
            f"init: expected the index of the cases that {weights} was trained on, {index} is of other cases"
        )
    return Init(folder, tensors, about, seen.cases)


@dataclass(frozen=True)
class Fit:
    """The tensors to transfer, and reasons for excluding the others."""

    transferred: dict[str, torch.Tensor]
    skipped: dict[str, str]
    """Reasons by tensor of the pre-training run."""


def check_fit(init: Init, network: Network, transfer: Transfer) -> Fit:
    """Select the tensors to transfer and check that they fit.

    Raises
    ------
    ValueError
        If a tensor to transfer is missing or has another shape.
    """
    wanted = network.encoder
    if transfer == "encoder+decoder":
        if network.about.get("skips") and init.about.get("skips") is False:
            raise ValueError(
                f"transfer: expected encoder, got {transfer}: the decoder of {init.folder} has no skips, this one has"
            )
        wanted = tuple(name for name in network.tensors if name not in network.head)
    state = network.module.state_dict()
    odd = []
    for name in wanted:
        if name not in init.tensors:
            odd.append(f"{name} is missing")
        elif init.tensors[name].shape != state[name].shape:
            odd.append(f"{name}: expected shape {tuple(state[name].shape)}, got {tuple(init.tensors[name].shape)}")
    if odd:
        more = f", and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise ValueError(
            f"init: expected every tensor of the {transfer} to fit, in {init.folder} {'; '.join(odd[:_SHOWN])}{more}. "
            "Give the network, filters and channels that it was pre-trained with"
        )
    reasons = {name: "the head is always new" for name in network.head}
    decoder = f"--transfer {transfer} excludes the decoder"
    skipped = {name: reasons.get(name, decoder) for name in init.tensors if name not in wanted}
    return Fit({name: init.tensors[name] for name in wanted}, skipped)


def load_fit(network: Network, transferred: Mapping[str, torch.Tensor]) -> nn.Module:
    """Load the transferred tensors into a network and return its module."""
    keys = network.module.load_state_dict(dict(transferred), strict=False)
    if keys.unexpected_keys:
        raise ValueError(f"init: expected tensors of the network, got {keys.unexpected_keys[0]}, which it has not")
    return network.module


def find_encoder(network: Network, module: nn.Module, setting: str) -> list[nn.Parameter]:
    """Return the parameters of a network's encoder in the module that is trained.

    Parameters
    ----------
    network : Network
    module : nn.Module
        What a task made of it.
    setting : str
        What they are wanted for.

    Raises
    ------
    ValueError
        If the module has no such part.
    """
    encoder, trained = list(network.features.parameters()), {id(parameter) for parameter in module.parameters()}
    if not encoder or not all(id(parameter) in trained for parameter in encoder):
        raise ValueError(
            f"--{setting}: expected a network whose encoder is trained, {network.about['network']} has none; leave "
            "--freeze-encoder and --encoder-lr-scale out"
        )
    return encoder
