"""Choice and set-up of the device, autocast, and random states."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy.typing as npt
import torch


def choose_device(name: str, deterministic: bool) -> torch.device:
    """Return the device to train on, set up for speed or for deterministic results."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a GPU for cuda, PyTorch finds none; use --device cpu")
    device = torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
    if deterministic:
        # cuBLAS reads it once, at its start.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    return device


def upload(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device, without blocking on a GPU."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def autocast(device: torch.device) -> torch.autocast:
    """Return an autocast context: bfloat16 on a GPU; disabled on a CPU, where it is rarely faster."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def random_state(device: torch.device) -> list[torch.Tensor]:
    """Return torch's random states: that of the CPU and, if training on a GPU, those of all GPUs."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if device.type == "cuda" else [])]


def set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Restore the states from `random_state`; GPUs that are not in it keep their state."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        for number, one in enumerate(state[1 : 1 + torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, number)
