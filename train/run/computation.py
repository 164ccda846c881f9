"""Computation of a step on a device: eager or compiled, and the memory format."""

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
"""Backend of torch.compile."""


@dataclass(frozen=True)
class Computation:
    """Execution mode and memory format."""

    compiled: bool
    """Whether training steps use torch.compile. Evaluation is always eager."""
    memory_format: MemoryFormat
    """Memory format of weights and features."""

    def __str__(self) -> str:
        """Return the mode and format as text."""
        return f"{'compiled' if self.compiled else 'eager'}, {self.memory_format}"

    def place(self, module: Module, device: torch.device, dims: int) -> Module:
        """Move a 2-D or 3-D module to the device and convert its weights to the memory format."""
        module = module.to(device)
        if self.memory_format == "channels-last":
            format = torch.channels_last_3d if dims == 3 else torch.channels_last
            module = module.to(memory_format=format)  # type: ignore[call-overload]  # missing in torch's annotations
        return module

    def compile(self, modules: Iterable[nn.Module]) -> None:
        """Compile modules in place at their first call, if `compiled` is set; their tensors keep their names.

        Parameters
        ----------
        modules : iterable of nn.Module
            Modules with their own `forward`, since torch does not compile an `nn.Sequential` in place.
        """
        if not self.compiled:
            return
        torch.compiler.set_stance("default")
        try:
            for module in modules:
                # A run has few input sizes, and static graphs are faster than a dynamic one.
                module.compile(backend=BACKEND, dynamic=False)
        except RuntimeError as error:  # for example if torch.compile does not support this Python version
            _report(error)

    def call(self, work: Callable[[], Result]) -> Result:
        """Call a function that runs modules; if compiling fails, print one line and continue eagerly."""
        if not self.compiled:
            return work()
        from torch._dynamo.exc import TorchDynamoException

        try:
            return work()
        except TorchDynamoException as error:
            _report(error)
            torch.compiler.set_stance("force_eager")
        return work()

    def eagerly(self) -> AbstractContextManager[Any]:
        """Context in which modules run eagerly, since other input sizes would trigger compilation."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


ON_CPU = Computation(compiled=False, memory_format="contiguous")
ON_GPU = Computation(compiled=False, memory_format="contiguous")
"""Defaults for "auto" on a GPU."""


def choose_computation(device: torch.device, compile: str, memory_format: str) -> Computation:
    """Return the computation for the settings; "auto" selects the device's default."""
    best = ON_GPU if device.type == "cuda" else ON_CPU
    chosen: Any = best.memory_format if memory_format == "auto" else memory_format
    return Computation(compiled=best.compiled if compile == "auto" else compile == "on", memory_format=chosen)


def reason(error: Exception) -> str:
    """Return the reason for a compile error in one line."""
    cause = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _report(error: Exception) -> None:
    tqdm.write(f"compile    failed, training continues eagerly: {reason(error)}")
