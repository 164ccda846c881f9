"""Reading and writing of weights: safetensors with metadata of the network, and state dicts of other packages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ..output.files import write_whole

NESTED = ("state_dict", "network_weights", "model", "network")
"""Keys of a state dict in a file, as in PyTorch Lightning, nnU-Net and nnssl, other packages, and this package."""


def first_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's ``state_dict()`` without second names of the same tensors.

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> first_names(nn.Sequential(layer, layer))
    ('0.weight', '0.bias')
    """
    found: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), name)
    return tuple(found.values())


def export_weights(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    names: Iterable[str],
    about: Mapping[str, Any],
) -> None:
    """Write selected tensors as safetensors.

    Parameters
    ----------
    path : path-like
        The file, written atomically.
    tensors : mapping of str to torch.Tensor
        A ``state_dict()``; it may have the same tensor under several names, which safetensors does not support.
    names : iterable of str
        Names of the tensors to write.
    about : mapping
        Metadata to rebuild the network. Stored as JSON under the single key ``about``, since the order of several keys
        in the file, and so its bytes, would vary between runs.
    """
    kept = {name: tensors[name].detach().cpu().contiguous() for name in names}
    write_whole(path, safetensors.torch.save(kept, metadata={"about": json.dumps(about, sort_keys=True)}))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file of weights.

    Raises
    ------
    ValueError
        If the file is not a file of weights of this package.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected weights of this package, the file cannot be read: {error}") from error


@dataclass(frozen=True)
class StateDict:
    """Tensors of a file of weights from any package."""

    tensors: dict[str, torch.Tensor]
    key: str
    """One of `NESTED`; empty if the file has the tensors at its top level."""
    about: dict[str, Any]
    """Metadata of the weights; empty for files of other packages."""


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from safetensors, or by ``torch.load(weights_only=True)``.

    Raises
    ------
    ValueError
        If the file cannot be read, or has no tensors at its top level or under one of `NESTED`.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises any type of error on other content
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"{path}: expected a file that torch.load(weights_only=True) can read, got: {first}; save only the "
            "state_dict()"
        ) from error
    for key in ("", *NESTED):
        held = content if not key else content.get(key) if isinstance(content, Mapping) else None
        tensors = _tensors(held)
        if tensors:
            return StateDict(tensors, key, {})
    found = f"a mapping of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else type(content)
    raise ValueError(f"{path}: expected tensors by name, at the top or under one of {', '.join(NESTED)}; got {found}")


def _read_safetensors(path: Path) -> StateDict:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            return StateDict({name: file.get_tensor(name) for name in file.keys()}, "", about)  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a safetensors file, it cannot be read: {error}") from error


def _tensors(held: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a mapping; empty for other values."""
    items = held.items() if isinstance(held, Mapping) else ()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, torch.Tensor)}
