"""The device to train on, and how it computes."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy.typing as npt
import torch


def choose_device(name: str, deterministic: bool) -> torch.device:
    """Return the device to train on, set up for speed or for the same bits each time."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected cuda, torch finds no GPU here; --device cpu trains without")
    device = torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
    if deterministic:
        # cuBLAS reads it once, when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    return device


def upload(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device, without waiting for a GPU."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def device_name(device: torch.device) -> str:
    """Return the model of a GPU, or of this CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 on a GPU; on a CPU, where it is rarely faster, in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def random_state(device: torch.device) -> list[torch.Tensor]:
    """Return where torch's random numbers stand: on the CPU, then on each GPU if one is trained on."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if device.type == "cuda" else [])]


def set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Go on where `random_state` was; a GPU that it knows nothing of keeps its own."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        for number, one in enumerate(state[1 : 1 + torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, number)
