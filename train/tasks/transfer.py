"""What a fine-tuning run takes over from a pre-training run or a file of weights, and what it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case

from ..networks.network import Network
from ..networks.plans import nnunet_names
from ..networks.weights import read_state_dict, read_weights
from .partial import cut_prefix, describe_misfits, refuse_little

Transfer = Literal["encoder", "encoder+decoder"]

_SHOWN = 3


@dataclass(frozen=True)
class Init:
    """Pre-trained weights."""

    path: Path
    """The folder of a run, or a file of weights."""
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]
    """What builds their network again, and the recipe of its samples; empty for a file of others."""
    cases: tuple[Case, ...] | None
    """What they were trained on or chosen by; None where that is not known."""
    is_file: bool = False
    """Whether part of the encoder is enough, and what is transferred is reported by name."""
    key: str = ""
    """Under which the file has them; empty where it has nothing else."""
    prefix: str = ""
    """What was cut off in front of their names."""

    @property
    def folder(self) -> Path | None:
        """The folder of their run; None for a file that does not lie in it."""
        if not self.is_file:
            return self.path
        return None if self.cases is None else self.path.parent

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What their samples were made of; empty where that is not known."""
        recipe: Mapping[str, Any] = self.about.get("recipe", {})
        return recipe

    @property
    def crop(self) -> tuple[int, int, int] | None:
        """The crop that the network was sized for; None where that is not known."""
        if "crop" not in self.about:
            return None
        depth, height, width = self.about["crop"]
        return depth, height, width

    def origin(self, transfer: Transfer) -> dict[str, Any]:
        """Return what the weights' file of a fine-tuning run says of them."""
        known = {"steps": self.about["step"]} if "step" in self.about else {}
        if self.is_file:
            known |= {"file": self.path.name, "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}
            known |= {"key": self.key, "prefix": self.prefix}
        return {**known, "transfer": transfer}


def read_init(path: Path, prefix: str = "") -> Init:
    """Read what a pre-training run left, or a file of weights.

    Parameters
    ----------
    path : Path
        The folder of a run; or a file: safetensors, or a state dict that was saved by `torch.save`.
    prefix : str
        Of a file's names: only those that begin with it are taken, without it.

    Raises
    ------
    ValueError
        If the folder holds no such run, or its index is not that of the weights; if the file cannot be read.
    """
    if path.is_file():
        return _read_file(path, prefix)
    if prefix:
        raise ValueError(f"prefix: expected --init with a file of weights, got the folder {path}")
    weights, index = path / "model.safetensors", path / "index.json"
    for needed in (weights, index):
        if not needed.is_file():
            raise ValueError(
                f"init: expected 'random', the folder of a pre-training run or a file of weights, {needed} is missing"
            )
    tensors, about = read_weights(weights)
    _refuse_finetuned(about, path)
    if "recipe" not in about:
        raise ValueError(
            f"init: expected a run of train.pretrain, {weights} does not say what its samples were made of"
        )
    seen = dali_cr.Index.load(index)
    if about.get("index", seen.fingerprint) != seen.fingerprint:
        raise ValueError(f"init: expected the index of the cases that {weights} has seen, {index} is of others")
    return Init(path, tensors, about, seen.cases)


def _read_file(path: Path, prefix: str) -> Init:
    """Read a file of weights; one that lies in the folder of its run has that run's cases."""
    read = read_state_dict(path)
    _refuse_finetuned(read.about, path)
    tensors = cut_prefix(read.tensors, prefix, path)
    index, cases = path.with_name("index.json"), None
    if "index" in read.about and index.is_file():
        seen = dali_cr.Index.load(index)
        if seen.fingerprint == read.about["index"]:
            cases = seen.cases
    return Init(path, tensors, read.about, cases, True, read.key, prefix)


def _refuse_finetuned(about: Mapping[str, Any], path: Path) -> None:
    if "task" in about:
        raise ValueError(
            f"init: expected a run of train.pretrain, {path} is one of train.finetune {about['task']['name']}"
        )


@dataclass(frozen=True)
class Fit:
    """Which tensors are taken over, and why the others are not."""

    taken: dict[str, torch.Tensor]
    skipped: dict[str, str]
    """From a tensor of the pre-training run, or of the file, to the reason."""
    random: dict[str, str] = field(default_factory=dict)
    """From a tensor of the network that should have come, and keeps its random weights, to the reason."""

    def lines(self, init: Init) -> Iterator[str]:
        """Yield what was transferred and what was not; of a file, all that was by name."""
        where = f", under {init.key}" if init.key else ""
        where += f", names without {init.prefix}" if init.prefix else ""
        yield f"init       {init.path}{where}: {len(self.taken)} tensors taken over, {len(self.skipped)} skipped"
        if init.is_file:
            yield from (f"taken over {name}" for name in self.taken)
        yield from (f"random     {name}: {reason}" for name, reason in self.random.items())
        yield from (f"skipped    {name}: {reason}" for name, reason in self.skipped.items())


def check_fit(init: Init, network: Network, transfer: Transfer) -> Fit:
    """Tell which tensors go over.

    Raises
    ------
    ValueError
        If one that should is not there, or has another shape; of a file, if there is too little of the encoder.
    """
    wanted = network.encoder
    if transfer == "encoder+decoder":
        if network.about.get("skips") and init.about.get("skips") is False:
            raise ValueError(
                f"transfer: expected encoder, got {transfer}: the decoder of {init.path} has no skips, this one has"
            )
        wanted = tuple(name for name in network.tensors if name not in network.head)
    state, tensors = network.module.state_dict(), dict(init.tensors)
    if init.is_file and network.about["network"] == "dynunet":
        for own, theirs in nnunet_names(init.tensors).items():
            tensors[own] = tensors.pop(theirs)
    odd = describe_misfits(tensors, wanted, state)
    if init.is_file:
        refuse_little(tensors, network.encoder, state, init.path)
    elif odd:
        told = [f"{name} {reason}" for name, reason in odd.items()]
        more = f", and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise ValueError(
            f"init: expected every tensor of the {transfer} to fit, in {init.path} {'; '.join(told[:_SHOWN])}{more}. "
            "Give the network, filters and channels that it was pre-trained with"
        )
    taken = {name: tensors[name] for name in wanted if name not in odd}
    reasons = dict.fromkeys(network.tensors, f"--transfer {transfer} leaves the decoder")
    reasons |= dict.fromkeys(network.head, "the head is always new") | odd
    # nnU-Net's and nnssl's files have each layer under several names.
    places = {tensor.data_ptr() for tensor in taken.values()}
    left = [name for name, tensor in tensors.items() if name not in taken and tensor.data_ptr() not in places]
    return Fit(taken, {name: reasons.get(name, "the network has no such tensor") for name in left}, odd)


def load_fit(network: Network, taken: Mapping[str, torch.Tensor]) -> nn.Module:
    """Put the tensors in their places, and return the module."""
    answer = network.module.load_state_dict(dict(taken), strict=False)
    if answer.unexpected_keys:
        raise ValueError(f"init: the network has no {answer.unexpected_keys[0]}")
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
            f"{setting}: expected a network whose encoder is a part of what is trained, {network.about['network']} has "
            "none; leave --freeze-encoder and --encoder-lr-scale out"
        )
    return encoder
