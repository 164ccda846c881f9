"""Small stored forms of finished runs: the encoder of a pre-training run as float16, the description of a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

from ..networks.build import build_network
from ..networks.network import Levels
from ..networks.weights import export_weights, read_weights


def compact_run(folder: Path) -> None:
    """Reduce the weights of a finished pre-training run to its encoder, as float16; a second call changes nothing.

    Fine-tuning from the run sees the rounded weights, whether they were moved to another machine or not.

    Raises
    ------
    ValueError
        If the folder has no weights of a pre-training run, or a weight exceeds the range of float16.
    """
    path = folder / "model.safetensors"
    tensors, about = read_weights(path)
    if about.get("compact"):
        return
    sizes = {name: about[name] for name in ("channels", "crop", "filters")}
    levels, dims, skips = Levels.of(about), about.get("dims", 3), about.get("skips")
    network = build_network(about["network"], **sizes, levels=levels, dims=dims, skips=skips)
    rounded = {name: _round(tensors[name]) for name in network.encoder}
    if odd := [name for name, tensor in rounded.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{path}: expected weights in the range of float16, {odd[0]} exceeds it")
    export_weights(path, rounded, rounded, {**about, "compact": "encoder, float16"})


def _round(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def describe_network(folder: Path) -> dict[str, Any]:
    """Return a network's input settings and the shapes of its tensors, since different settings may give the same."""
    about = json.loads((folder / "config.json").read_text()).get("network", {})
    with safetensors.safe_open(str(folder / "model.safetensors"), framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a mapping
    view: dict[str, Any] = about.get("view", {})
    return view | shapes
