"""Checkpoints of a run: weights, optimiser, loader, random states, progress and further state.

Checkpoints contain only tensors, numbers, strings and containers, and are read with ``weights_only=True``, so that
loading one runs no code.
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
from .config.training import RunSettings
from .device import random_state, set_random_state
from .progress import Progress

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write the state of a run: tensors, numbers, strings and containers of these."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, with tensors on the CPU.

    Raises
    ------
    ValueError
        If the file is not a checkpoint or is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise ValueError(f"resume: expected a checkpoint, {path} cannot be read: {error}") from error
    return state


def resume(
    config: RunSettings, earlier: dict[str, Any] | None, module: nn.Module, loader: dali_cr.Loader
) -> dict[str, Any] | None:
    """Restore the weights and the loader from the checkpoint of the run to resume.

    Returns
    -------
    dict or None
        The checkpoint; None if there is none.

    Raises
    ------
    ValueError
        If --steps is lower than the step of the checkpoint, or a setting of steps that were taken has changed.
    """
    path = config.out / CHECKPOINT
    if not (earlier and path.exists()):
        return None
    state = load_checkpoint(path)
    if state["step"] > config.steps:
        raise ValueError(
            f"steps: expected at least {state['step']}, the step of the checkpoint in {config.out}, got {config.steps}"
        )
    config.check_past(earlier["config"], state["step"])
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
    """Write the checkpoint of the current step: its weights, and with --ema their average beside them."""
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


def restore_state(
    state: dict[str, Any] | None, optimizer: torch.optim.Optimizer, average: Average | None, device: torch.device
) -> Progress:
    """Restore the optimiser, the average and the random states; return the progress of the run."""
    if state is None:
        return Progress()
    load_optimizer(optimizer, state["optimizer"])
    if average:
        average.load_state_dict(state["ema"])
    set_random_state(state["random"], device)
    return Progress.of(state)
