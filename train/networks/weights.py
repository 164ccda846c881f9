"""Files of weights (safetensors), and what builds their network again."""

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
    """Write the tensors called `names` as safetensors.

    Parameters
    ----------
    path : path-like
        The file, written whole or not at all.
    tensors : mapping of str to torch.Tensor
        A ``state_dict()``; it may hold the same tensor under several names, which safetensors refuses.
    names : iterable of str
        Which of them to write.
    about : mapping
        What a reader needs to build the network again. Stored as JSON under the one key ``about``: with several
        keys their order in the file, and so its bytes, would change from run to run.
    """
    kept = {name: tensors[name].detach().cpu().contiguous() for name in names}
    write_whole(path, safetensors.torch.save(kept, metadata={"about": json.dumps(about, sort_keys=True)}))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of a weights' file of this trainer, and what it says of them.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - it is no mapping
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected weights of this trainer, they cannot be read: {error}") from error
