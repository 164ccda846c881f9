"""What a contender is: an endless stream of batches, made in a process of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads.verdict import Corruption
from benchmarks.workloads.workload import Workload
from dali_cr.index.cases import Index

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Job:
    """What one process has to measure."""

    contender: str
    workload: Workload
    index: Path
    workers: int
    cores: tuple[int, ...]
    """Which cores it may use."""
    seconds: float
    device: str
    seed: int
    scratch: Path
    """An empty folder of its own."""

    def to_json(self) -> dict[str, Any]:
        """Return every field as JSON has it."""
        fields = asdict(self)
        return {**fields, "index": str(self.index), "scratch": str(self.scratch), "cores": list(self.cores)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        """Return the job that `to_json` wrote."""
        paths = {name: Path(fields[name]) for name in ("index", "scratch")}
        workload = Workload.from_json(fields["workload"])
        return cls(**{**fields, **paths, "workload": workload, "cores": tuple(fields["cores"])})


class Feed(ABC):
    """An endless stream of batches of (input, target)."""

    fills_cache = False
    """Whether the first epoch is another thing than the ones after it."""

    def __init__(self, job: Job) -> None:
        self.job, self.workload = job, job.workload
        self.index = Index.load(job.index)

    @abstractmethod
    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the number of pairs in a batch and its arrays, (B, 1, ...) each; no arrays where there are no pairs."""

    def corruption(self) -> Corruption | None:
        """Return what disorders a crop, or None where nothing does."""
        return None

    def report(self) -> dict[str, Any]:
        """Return what else there is to say."""
        return {}

    def close(self) -> None:
        """Stop threads and processes."""
        return

    def to_device(self, arrays: Arrays) -> Arrays:
        """Return tensors where the job wants them."""
        import torch

        tensors = tuple(torch.as_tensor(array) for array in arrays)
        return tensors if self.job.device == "cpu" else tuple(t.to("cuda", non_blocking=True) for t in tensors)


def endless(count: int, seed: int) -> Iterator[int]:
    """Yield one permutation of [0, count) after the other."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(count).tolist()


def in_threads(threads: int, work: Callable[..., Any], batches: Iterable[list[tuple[Any, ...]]]) -> Iterator[list[Any]]:
    """Yield the results of `work` on each batch of arguments, two batches ahead; with 0 threads, in the caller's."""
    if threads == 0:
        for batch in batches:
            yield [work(*arguments) for arguments in batch]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        ahead: deque[list[Future[Any]]] = deque()
        try:
            for batch in batches:
                ahead.append([pool.submit(work, *arguments) for arguments in batch])
                if len(ahead) > 2:
                    yield [future.result() for future in ahead.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)
