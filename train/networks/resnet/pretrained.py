"""Initial weights of a ResNet-18 encoder: random, torchvision's from ImageNet, or from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..network import Network
from ..weights import read_state_dict

URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
"""torchvision's ``ResNet18_Weights.IMAGENET1K_V1``; the name ends with the start of the file's SHA-256."""

_FIRST = "conv1.weight"
_OPTIONAL = "num_batches_tracked"
"""Tensors that files of old versions of PyTorch lack."""


def initialize_encoder(network: Network, source: str, known: Mapping[str, Any] | None = None) -> Network:
    """Load the initial weights of a network's encoder and record their source in its `about`.

    Parameters
    ----------
    network : Network
        Left as it is unless it is a ResNet.
    source : str
        "random", "imagenet", or a file of weights.
    known : mapping, optional
        Metadata of the weights that are loaded later, from a run: nothing is loaded here, the source is copied.

    Raises
    ------
    ValueError
        If the weights cannot be downloaded or read, or do not fit.
    """
    if not network.about["network"].startswith("resnet18"):
        return network
    if known is None:
        origin = {"source": "random"} if source == "random" else _load(network, source)
    elif "encoder_weights" in known:
        origin = known["encoder_weights"]
    else:
        return network
    return replace(network, about={**network.about, "encoder_weights": origin})


def describe_source(about: Mapping[str, Any]) -> str:
    """Return the source of the encoder's initial weights, from a network's `about`; empty if unknown.

    Examples
    --------
    >>> describe_source({"encoder_weights": {"source": "file", "file": "resnet18.pth", "sha256": "00"}})
    'file resnet18.pth'
    """
    origin = about.get("encoder_weights", {"source": ""})
    return f"file {origin['file']}" if origin["source"] == "file" else str(origin["source"])


def _load(network: Network, source: str) -> dict[str, Any]:
    """Load weights into the encoder and return their source."""
    path = download() if source == "imagenet" else Path(source)
    if not path.is_file():
        raise ValueError(f"--encoder-weights: expected random, imagenet or a file of weights, {path} does not exist")
    read = read_state_dict(path)
    prefix = _find_prefix(read.tensors, path)
    theirs = {name.removeprefix(prefix): tensor for name, tensor in read.tensors.items() if name.startswith(prefix)}
    state = network.features.state_dict()
    for name, own in state.items():
        tensor = theirs.get(name.removeprefix("encoder."))
        if tensor is None and name.endswith(_OPTIONAL):
            continue
        state[name] = _fit(name, tensor, own, path)
    network.features.load_state_dict(state)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    channels = theirs[_FIRST].shape[1]
    kind = "imagenet" if source == "imagenet" else "file"
    return {"source": kind, "file": path.name, "sha256": digest, "channels": channels}


def download() -> Path:
    """Return torchvision's file of ImageNet weights in PyTorch's cache, downloaded if it is missing.

    Raises
    ------
    ValueError
        If it cannot be downloaded, or a file of this name has other content.
    """
    name = Path(URL).name
    path, start = Path(torch.hub.get_dir(), "checkpoints", name), name.removesuffix(".pth").split("-")[1]
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=start, progress=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"--encoder-weights: expected a download of {URL}, got {type(error).__name__}: {error}; download the file "
            f"elsewhere and give --encoder-weights {name}"
        ) from error
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(start):
        raise ValueError(f"--encoder-weights: expected {URL} in {path}, its SHA-256 differs; remove the file")
    return path


def _find_prefix(tensors: Mapping[str, torch.Tensor], path: Path) -> str:
    """Return what precedes the names of the only ResNet in a state dict."""
    second = "layer4.1.conv2.weight"
    starts = [name.removesuffix(_FIRST) for name in tensors if name.endswith(_FIRST)]
    found = [start for start in starts if start + second in tensors]
    if len(found) != 1:
        raise ValueError(
            f"--encoder-weights: expected the state dict of one ResNet-18 in {path}, with {_FIRST} and {second} as in "
            f"torchvision; got {len(found)}, and the names {', '.join(list(tensors)[:3])}"
        )
    return found[0]


def _fit(name: str, tensor: torch.Tensor | None, own: torch.Tensor, path: Path) -> torch.Tensor:
    """Return a file's tensor for a tensor of the encoder; filters of colour channels are summed for one channel.

    The sum gives the same features as an image that is repeated in three channels.
    """
    what = f"--encoder-weights: expected {name.removeprefix('encoder.')} of shape {tuple(own.shape)}"
    if tensor is None:
        raise ValueError(f"{what} in {path}, it is missing; give a file of a ResNet-18")
    first, given = name == f"encoder.{_FIRST}", tuple(tensor.shape)
    if first and tensor.ndim == own.ndim and (tensor.shape[1], own.shape[1]) == (3, 1):
        tensor = tensor.sum(1, keepdim=True)
    if tensor.shape != own.shape:
        advice = "give --encoder-weights random, or a file of this shape"
        if first and given[0] != own.shape[0]:
            advice = f"give --filters {given[0]}"
        elif first:
            advice = "images must have " + ("one channel or 3" if given[1:2] == (3,) else f"{given[1]} channels")
        raise ValueError(f"{what}, got {given} in {path}; {advice}")
    if tensor.is_floating_point() != own.is_floating_point() or tensor.is_complex():
        raise ValueError(f"{what} and {own.dtype}, got {tensor.dtype} in {path}")
    tensor = tensor.to(own.dtype)
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{what} with finite values, got NaN or infinity in {path}")
    return tensor
