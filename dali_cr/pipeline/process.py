"""`LoaderProcess`: the process and the rank that a loader belongs to, and errors if it is used elsewhere."""

from __future__ import annotations

import os
from typing import Any


class LoaderProcess:
    """The process that made a loader, and its rank.

    Parameters
    ----------
    torch : module
    rank, world_size : int, optional
        Default: from `torch.distributed` if initialised, else 0 and 1.

    Attributes
    ----------
    rank, world_size : int

    Raises
    ------
    RuntimeError
        In a worker of a torch DataLoader.
    """

    def __init__(self, torch: Any, rank: int | None = None, world_size: int | None = None) -> None:
        if torch.utils.data.get_worker_info() is not None:
            raise RuntimeError(
                "a Loader cannot be used in workers of a torch DataLoader: it reads with its own threads, and each "
                "worker would deliver the same samples; iterate over the Loader itself"
            )
        self._torch, self._number = torch, os.getpid()
        own, everyone = _ranks(torch)
        self.rank = own if rank is None else rank
        self.world_size = everyone if world_size is None else world_size
        self._found = everyone if rank is None and world_size is None else None

    @property
    def is_current(self) -> bool:
        """Whether this is the current process; false in a forked child."""
        return os.getpid() == self._number

    def check(self) -> None:
        """Raise RuntimeError in another process."""
        if not self.is_current:
            raise RuntimeError(
                f"this Loader was created in process {self._number} and cannot be used in {os.getpid()}, a forked "
                "process such as a worker of a torch DataLoader, because its threads do not exist there; iterate over "
                "the Loader in the process that created it"
            )

    def check_ranks(self) -> None:
        """Raise RuntimeError if the process group was made after the loader: all ranks would get the same samples."""
        everyone = _ranks(self._torch)[1]
        if self._found is not None and self._found < everyone:
            raise RuntimeError(
                f"this Loader was made before torch.distributed had its {everyone} ranks, which would "
                "all get the same samples; make it after init_process_group (with Lightning, in train_dataloader), "
                "or pass rank and world_size"
            )


def _ranks(torch: Any) -> tuple[int, int]:
    """Return the rank of this process and the number of ranks."""
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
