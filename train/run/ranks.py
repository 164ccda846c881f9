"""The processes of a run that ``torchrun`` started: each takes its slice of every step's samples.

::

    torchrun --nproc-per-node 4 -m train.pretrain --data scans/ --out runs/first

Weights are those of one process with the same ``--batch-size``, which counts the samples of all, up to the order of
sums; but for batch norm, which every process takes over its own slice, as under the `DataParallel` of PCRLv2's public
code. The first process alone measures, speaks and writes.

Gradients are averaged once, after the backward pass, by one sum over all of them. `DistributedDataParallel` would do so
beside it, but needs a gradient for every parameter or a search for those without: which heads PCRLv2 trains changes
from step to step. All processes draw the same ones, and a head that was not drawn is left without a gradient.
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
"""The others wait while the first measures; a process that died is noticed by torchrun."""


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes, where ``torchrun`` started several; all but the first are silent on stdout."""
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
    """Return how many processes there are."""
    return dist.get_world_size() if _several() else 1


def is_first() -> bool:
    """Whether this is the first process, or the only one."""
    return not _several() or dist.get_rank() == 0


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: of the GPUs of a machine, one each."""
    if device.type != "cuda" or count() == 1:
        return device
    local, found = int(os.environ.get("LOCAL_RANK", dist.get_rank())), torch.cuda.device_count()
    if local >= found:
        raise ValueError(f"device: expected a GPU for each process of a machine, got {found}; --nproc-per-node {found}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def share(batch_size: int) -> int:
    """Return how many of a step's samples are this process's.

    Raises
    ------
    ValueError
        If not all processes would get as many.
    """
    if batch_size % count():
        raise ValueError(f"--batch-size: expected a multiple of the {count()} processes, got {batch_size}")
    return batch_size // count()


def first_then_others(work: Callable[[bool], Result]) -> Result:
    """Do something in the first process, and once it is done in the others.

    Parameters
    ----------
    work : function of bool
        Told whether it is another process's turn.

    Raises
    ------
    Refused
        In all of them, where it was in one.
    """
    for turn in (True, False):
        refused = None
        if turn == is_first():
            try:
                result = work(not turn)
            except Refused as error:
                refused = error
        if largest(refused is not None):
            raise refused or Refused("refused by another process")
    return result


def check_same(what: str, value: Any) -> None:
    """Refuse to go on where processes found different things.

    Raises
    ------
    Refused
    """
    if not _several():
        return
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    if any(other != found[0] for other in found):
        raise Refused(f"expected the same {what} in all processes, got {found}; --data and --out are one place for all")


def copy_first(module: nn.Module) -> None:
    """Give all processes the weights of the first."""
    if _several():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def largest(number: int) -> int:
    """Return the largest of the processes' numbers."""
    if not _several():
        return int(number)
    numbers = torch.tensor([int(number)])
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def mean(numbers: Sequence[float]) -> list[float]:
    """Return the means of the processes' numbers."""
    if not _several():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    means: list[float] = (sums / count()).tolist()
    return means


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put in place of each gradient the mean of the processes'; all of them have gradients of the same parameters."""
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
