"""Data-parallel training under ``torchrun``: each process takes a slice of every step's samples.

::

    torchrun --nproc-per-node 4 -m train.pretrain --data scans/ --out runs/first

``--batch-size`` counts the samples of all processes, and the weights equal those of a single process up to the order of
summation, except for batch norm, whose statistics are those of each process's slice, as under the `DataParallel` of
PCRLv2's public code. Only the first process evaluates, prints and writes.

Gradients are averaged by a single all-reduce after the backward pass. `DistributedDataParallel` would overlap both, but
needs a gradient for every parameter or a search for unused ones, and PCRLv2 trains different heads in every step. All
processes draw the same heads; a head that was not drawn has no gradient.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from .exits import Refused

Result = TypeVar("Result")

_PATIENCE = timedelta(days=1)
"""Timeout of the other processes while the first evaluates; torchrun detects processes that died."""


@contextmanager
def joined() -> Iterator[None]:
    """Context that joins the processes that ``torchrun`` started; only the first prints to stdout."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        with (
            open(os.devnull, "w", errors="backslashreplace") as nowhere,
            redirect_stdout(sys.stdout if is_first() else nowhere),
        ):
            yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _several() else 1


def is_first() -> bool:
    """Whether this is the first or the only process."""
    return not _several() or dist.get_rank() == 0


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: one GPU for each process of a machine."""
    if device.type != "cuda" or count() == 1:
        return device
    local, found = int(os.environ.get("LOCAL_RANK", dist.get_rank())), torch.cuda.device_count()
    if local >= found:
        raise ValueError(
            f"device: expected a GPU for each process of a machine, got {found} GPUs; use --nproc-per-node {found}"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def share(batch_size: int) -> int:
    """Return the number of samples of a step for this process.

    Raises
    ------
    ValueError
        If the batch size is not a multiple of the number of processes.
    """
    if batch_size % count():
        raise ValueError(f"--batch-size: expected a multiple of the {count()} processes, got {batch_size}")
    return batch_size // count()


def first_then_others(work: Callable[[bool], Result]) -> Result:
    """Call a function in the first process, then in the others.

    Parameters
    ----------
    work : function of bool
        Its argument is False in the first process and True in the others.

    Raises
    ------
    Refused
        In all processes, if it is raised in one.
    """
    for turn in (True, False):
        refused = None
        if turn == is_first():
            try:
                result = work(not turn)
            except Refused as error:
                refused = error
        if largest(refused is not None):
            raise refused or Refused("another process raised an error")
    return result


def check_same(what: str, value: Any) -> None:
    """Check that all processes have the same value.

    Raises
    ------
    Refused
    """
    if not _several():
        return
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    if any(other != found[0] for other in found):
        raise Refused(
            f"expected the same {what} in all processes, got {found}; --data and --out must be the same for all"
        )


def copy_first(module: nn.Module) -> None:
    """Copy the weights of the first process to all others."""
    if _several():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def largest(number: int) -> int:
    """Return the maximum of a number over the processes."""
    if not _several():
        return int(number)
    numbers = torch.tensor([int(number)])
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def mean(numbers: Sequence[float]) -> list[float]:
    """Return the means of numbers over the processes."""
    if not _several():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    means: list[float] = (sums / count()).tolist()
    return means


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes, which must have gradients for the same parameters."""
    if not _several():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
