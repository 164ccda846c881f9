"""How a step is computed on a device: eagerly or compiled, and in which memory format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from tqdm import tqdm

MemoryFormat = Literal["contiguous", "channels-last"]
Module = TypeVar("Module", bound=nn.Module)
Result = TypeVar("Result")

BACKEND = "inductor"
"""Of torch.compile."""


@dataclass(frozen=True)
class Computation:
    """How a step is computed."""

    compiled: bool
    """By torch.compile; eagerly otherwise. What is measured between steps is always computed eagerly."""
    memory_format: MemoryFormat
    """Order of the axes of weights and features in memory."""

    def __str__(self) -> str:
        """Return it in words."""
        return f"{'compiled' if self.compiled else 'eager'}, {self.memory_format}"

    def place(self, module: Module, device: torch.device, dims: int) -> Module:
        """Move a module that takes images of 2 or 3 dimensions to its device, its weights in the memory format."""
        module = module.to(device)
        if self.memory_format == "channels-last":
            format = torch.channels_last_3d if dims == 3 else torch.channels_last
            module = module.to(memory_format=format)  # type: ignore[call-overload]  # missing in torch's annotations
        return module

    def compile(self, modules: Iterable[nn.Module]) -> None:
        """Have modules compiled when they are first called, where that was asked for; their tensors keep their names.

        Parameters
        ----------
        modules : iterable of nn.Module
            With a `forward` of their own: torch leaves an `nn.Sequential` as it is.
        """
        if not self.compiled:
            return
        torch.compiler.set_stance("default")
        try:
            for module in modules:
                # A run has few sizes: a graph for each is faster than one for all.
                module.compile(backend=BACKEND, dynamic=False)
        except RuntimeError as error:  # as under a Python that torch.compile does not know yet
            _tell(error)

    def call(self, work: Callable[[], Result]) -> Result:
        """Return what modules make; where they cannot be compiled, say so in one line and go on eagerly."""
        if not self.compiled:
            return work()
        from torch._dynamo.exc import TorchDynamoException

        try:
            return work()
        except TorchDynamoException as error:
            _tell(error)
            torch.compiler.set_stance("force_eager")
        return work()

    def eagerly(self) -> AbstractContextManager[Any]:
        """Call modules eagerly while entered: other sizes than those of training would be compiled anew."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


ON_CPU = Computation(compiled=False, memory_format="contiguous")
ON_GPU = Computation(compiled=False, memory_format="contiguous")
"""What "auto" means on a GPU."""


def choose_computation(device: torch.device, compile: str, memory_format: str) -> Computation:
    """Return how a step is computed on a device: as the settings say, or where they say "auto" as is best there."""
    best = ON_GPU if device.type == "cuda" else ON_CPU
    chosen: Any = best.memory_format if memory_format == "auto" else memory_format
    return Computation(compiled=best.compiled if compile == "auto" else compile == "on", memory_format=chosen)


def reason(error: Exception) -> str:
    """Return in one line why something could not be compiled."""
    cause = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _tell(error: Exception) -> None:
    tqdm.write(f"compile    failed, training goes on eagerly: {reason(error)}")
