"""Files that are either whole or not there: checkpoints and exported weights.

A job may be killed at any instruction, also while it writes. So each file is written under another name in the same
folder, forced to the disk, and only then renamed over the old one; the folder is forced to the disk too, or the
rename itself could be lost with the power. A checkpoint is read with ``weights_only=True``: it holds tensors,
numbers, strings and containers of these, and opening one runs no code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    path : path-like
        The file. Its folder must exist.
    content : bytes
        All of it.
    """
    path = Path(path)
    # One fixed name, so that what a killed run left behind is overwritten by the next.
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        # On a full disk even a part is in the way of what comes next.
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write the state of a run: tensors, numbers, strings, and containers of these."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, its tensors on the CPU.

    Raises
    ------
    ValueError
        When the file is no checkpoint, or a damaged one.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is wanted to be a checkpoint of this trainer; reading it failed: {error}") from error
    return state


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
