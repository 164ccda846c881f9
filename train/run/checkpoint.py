"""What a checkpoint holds of a run: weights, optimiser, stream, random numbers, time, and what is the run's own.

A checkpoint is read with ``weights_only=True``: it holds tensors, numbers, strings and containers of these, and opening
one runs no code.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dali_cr

from ..optim.average import Average
from ..optim.optimizer import load_optimizer
from ..output.files import write_whole
from .config import RunSettings
from .device import random_state, set_random_state
from .progress import Progress

CHECKPOINT = "checkpoint.pt"


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


def resume(
    config: RunSettings, earlier: dict[str, Any] | None, module: nn.Module, loader: dali_cr.Loader
) -> dict[str, Any] | None:
    """Put weights and stream where the checkpoint of the run to go on with has them.

    Returns
    -------
    dict or None
        The checkpoint; None where there is none.

    Raises
    ------
    ValueError
        If the run is asked for fewer steps than the checkpoint has.
    """
    path = config.out / CHECKPOINT
    if not (earlier and path.exists()):
        return None
    state = load_checkpoint(path)
    if state["step"] > config.steps:
        raise ValueError(
            f"steps: expected at least {state['step']}, the steps that the checkpoint in {config.out} has, got "
            f"{config.steps}"
        )
    module.load_state_dict(state["network"])
    loader.load_state_dict(state["loader"])
    return state


def write_state(
    out: Path,
    progress: Progress,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    loader: dali_cr.Loader,
    **more: Any,
) -> None:
    """Write the checkpoint of a step: the weights of the step itself, and with --ema their average beside them."""
    state = {
        **progress.state,
        "network": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        **({"ema": average.state_dict()} if average else {}),
        "loader": loader.state_dict(),
        "random": random_state(next(module.parameters()).device),
        **more,
    }
    save_checkpoint(out / CHECKPOINT, state)


def take_up(
    state: dict[str, Any] | None, optimizer: torch.optim.Optimizer, average: Average | None, device: torch.device
) -> Progress:
    """Put optimiser, average and random numbers where they were; return where the run stands."""
    if state is None:
        return Progress()
    load_optimizer(optimizer, state["optimizer"])
    if average:
        average.load_state_dict(state["ema"])
    set_random_state(state["random"], device)
    return Progress.of(state)
