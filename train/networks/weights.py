"""Reading and writing of weights as safetensors, with metadata to rebuild their network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ..output.files import write_whole


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
