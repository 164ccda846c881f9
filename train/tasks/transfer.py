"""Transfer of pre-trained weights from a run or a file into a network for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import dali_cr
from dali_cr.index.volumes import Case

from ..networks.build import ENCODER_OF
from ..networks.network import Network
from ..networks.plans import nnunet_names
from ..networks.weights import read_state_dict, read_weights
from ..run.checkpoint import CHECKPOINT
from ..start.initial import hash_weights
from .partial import check_share, check_values, cut_prefix, describe_misfits

Transfer = Literal["encoder", "encoder+decoder"]

_SHOWN = 3


@dataclass(frozen=True)
class Init:
    """Pre-trained weights."""

    path: Path
    """Folder of a run, or file of weights."""
    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]
    """Arguments that rebuild their network, and the recipe of their samples; empty for files of other packages."""
    cases: tuple[Case, ...] | None
    """The cases of their pre-training run, held-out cases included; None if unknown."""
    is_file: bool = False
    """Whether the weights are from a file: it may have part of the encoder, and transferred tensors are listed."""
    key: str = ""
    """Key of the state dict in the file; empty if the file is the state dict."""
    prefix: str = ""
    """Prefix that was removed from the names."""

    @property
    def folder(self) -> Path | None:
        """Folder of their run; None for a file outside of a run."""
        if not self.is_file:
            return self.path
        return None if self.cases is None else self.path.parent

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Recipe of their samples; empty if unknown."""
        recipe: Mapping[str, Any] = self.about.get("recipe", {})
        return recipe

    @property
    def crop(self) -> tuple[int, int, int] | None:
        """The crop that the network was built for; None if unknown."""
        if "crop" not in self.about:
            return None
        depth, height, width = self.about["crop"]
        return depth, height, width

    def check_network(self, network: str, dims: int, plans: Path | None) -> None:
        """Raise ValueError if the metadata of the weights name another network."""
        if "network" not in self.about:
            return
        if plans:
            raise ValueError(f"plans: expected no --plans with --init, which defines the network; got {plans}")
        known, others = self.about["network"], self.about.get("dims", 3)
        if known not in (network, ENCODER_OF.get(network)):
            raise ValueError(f"init: expected a {network}, {self.path} has a {known}; use --network {known}")
        if others != dims:
            raise ValueError(
                f"init: expected a network of --dims {dims}, {self.path} has --dims {others}; use --dims {others}"
            )

    def origin(self, transfer: Transfer) -> dict[str, Any]:
        """Return the metadata for a network that was initialised from these weights."""
        known: dict[str, Any] = {"steps": self.about["step"]} if "step" in self.about else {}
        known["sha256"] = hash_weights(self.path)
        if self.is_file:
            known |= {"file": self.path.name, "key": self.key, "prefix": self.prefix}
        return {**known, "transfer": transfer}


def read_init(path: Path, prefix: str = "") -> Init:
    """Read the weights and the cases of a pre-training run, or a file of weights.

    Parameters
    ----------
    path : Path
        Folder of a run; or file: safetensors, or a state dict saved by `torch.save`.
    prefix : str
        For a file: keep only tensors whose names begin with it, and remove it.

    Raises
    ------
    ValueError
        If the folder holds no pre-training run, its index does not belong to the weights, or the file cannot be read.
    """
    if path.is_file():
        return _read_file(path, prefix)
    if prefix:
        raise ValueError(f"prefix: expected --init with a file of weights, got the folder {path}")
    if not path.exists():
        raise ValueError(
            f"init: expected 'random', the folder of a pre-training run or a file of weights, {path} does not exist"
        )
    weights, index = path / "model.safetensors", path / "index.json"
    for needed in (weights, index):
        if not needed.is_file():
            raise ValueError(
                f"init: expected 'random', the folder of a pre-training run or a file of weights, {needed} is missing"
            )
    tensors, about = read_weights(weights)
    _check_pretrained(about, path)
    if "recipe" not in about:
        raise ValueError(f"init: expected a run of train.pretrain, {weights} has no recipe of samples")
    seen = dali_cr.Index.load(index)
    if about.get("index", seen.fingerprint) != seen.fingerprint:
        raise ValueError(
            f"init: expected the index of the cases that {weights} was trained on, {index} is of other cases"
        )
    return Init(path, tensors, about, seen.cases)


def _read_file(path: Path, prefix: str) -> Init:
    """Read a file of weights; in the folder of its run, also the cases of the run."""
    run = path.parent
    if path.name == CHECKPOINT and (run / "model.safetensors").is_file():
        raise ValueError(
            f"init: expected the folder {run}, got its {CHECKPOINT}, which lists neither the training images nor the "
            "network"
        )
    read = read_state_dict(path)
    _check_pretrained(read.about, path)
    tensors = cut_prefix(read.tensors, prefix, path)
    index, cases = path.with_name("index.json"), None
    if "index" in read.about and index.is_file():
        seen = dali_cr.Index.load(index)
        cases = seen.cases if seen.fingerprint == read.about["index"] else None
    return Init(path, tensors, read.about, cases, True, read.key, prefix)


def _check_pretrained(about: Mapping[str, Any], path: Path) -> None:
    if "task" in about:
        raise ValueError(
            f"init: expected a run of train.pretrain, {path} is one of train.finetune {about['task']['name']}"
        )


@dataclass(frozen=True)
class Fit:
    """The tensors to transfer, and reasons for excluding the others."""

    transferred: dict[str, torch.Tensor]
    skipped: dict[str, str]
    """Reasons by tensor of the pre-training run or file."""
    random: dict[str, str] = field(default_factory=dict)
    """Reasons by tensor of the network that could not be transferred and keeps its random weights."""

    def lines(self, init: Init) -> Iterator[str]:
        """Yield lines with the numbers and names of tensors; for a run only the names of excluded ones."""
        where = f", key {init.key}" if init.key else ""
        where += f", prefix {init.prefix}" if init.prefix else ""
        count, skipped = len(self.transferred), len(self.skipped)
        yield f"init       {init.path}{where}: {count} tensors transferred, {skipped} excluded"
        if init.is_file:
            yield from (f"transfer   {name}" for name in self.transferred)
        yield from (f"random     {name}: {reason}" for name, reason in self.random.items())
        yield from (f"excluded   {name}: {reason}" for name, reason in self.skipped.items())


def check_fit(init: Init, network: Network, transfer: Transfer) -> Fit:
    """Return the tensors to transfer.

    Raises
    ------
    ValueError
        If a tensor to transfer is missing or has another shape; for a file, if it has too little of the encoder, or a
        tensor has values of another kind.
    """
    wanted = network.encoder
    if transfer == "encoder+decoder":
        if init.about.get("trained") == "encoder":
            raise ValueError(
                f"transfer: expected encoder, since --pretext {init.about['pretext']} of {init.path} trained no "
                f"decoder, got {transfer}"
            )
        if network.about.get("skips") and init.about.get("skips") is False:
            raise ValueError(
                f"transfer: expected encoder, since the decoder of {init.path} has no skips, got {transfer}"
            )
        wanted = tuple(name for name in network.tensors if name not in network.head)
    state, tensors = network.module.state_dict(), dict(init.tensors)
    if init.is_file and network.about["network"] == "dynunet":
        for own, theirs in nnunet_names(init.tensors).items():
            tensors[own] = tensors.pop(theirs)
    odd = describe_misfits(tensors, wanted, state)
    if init.is_file:
        check_share(tensors, network.encoder, state, init.path)
    elif odd:
        texts = [f"{name}{reason}" for name, reason in odd.items()]
        more = f", and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise ValueError(
            f"init: expected every tensor of the {transfer} to fit, in {init.path} {'; '.join(texts[:_SHOWN])}{more}. "
            "Give the network, filters and channels of the pre-training"
        )
    transferred = {name: tensors[name] for name in wanted if name not in odd}
    if init.is_file:
        check_values(transferred, state, init.path)
    reasons = dict.fromkeys(network.tensors, f"--transfer {transfer} excludes the decoder")
    reasons |= dict.fromkeys(network.head, "the head is always new") | dict.fromkeys(odd, "another shape")
    # Files of nnU-Net and nnssl have several names for each layer.
    places = {tensor.data_ptr() for tensor in transferred.values()}
    left = [name for name, tensor in tensors.items() if name not in transferred and tensor.data_ptr() not in places]
    skipped = {name: reasons.get(name, "the network has no such tensor") for name in left}
    return Fit(transferred, skipped, {name: reason.removeprefix(":").strip() for name, reason in odd.items()})


def load_fit(network: Network, transferred: Mapping[str, torch.Tensor]) -> nn.Module:
    """Load the transferred tensors into a network and return its module."""
    keys = network.module.load_state_dict(dict(transferred), strict=False)
    if keys.unexpected_keys:
        raise ValueError(f"init: expected tensors of the network, got {keys.unexpected_keys[0]}")
    return network.module


def find_encoder(network: Network, module: nn.Module, setting: str) -> list[nn.Parameter]:
    """Return the parameters of a network's encoder in the module to train.

    Parameters
    ----------
    network : Network
    module : nn.Module
        Built from the network by a task.
    setting : str
        The option that needs them, for messages.

    Raises
    ------
    ValueError
        If the module has no encoder.
    """
    encoder, trained = list(network.features.parameters()), {id(parameter) for parameter in module.parameters()}
    if not encoder or not all(id(parameter) in trained for parameter in encoder):
        raise ValueError(
            f"{setting}: expected a network with a separate encoder, got {network.about['network']}; omit "
            "--freeze-encoder and --encoder-lr-scale"
        )
    return encoder
