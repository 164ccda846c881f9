"""Interface of contenders: an endless stream of batches, produced in a separate process."""

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
    """A measurement of one contender."""

    contender: str
    workload: Workload
    index: Path
    workers: int
    cores: tuple[int, ...]
    """Cores that the process is bound to."""
    seconds: float
    device: str
    seed: int
    scratch: Path
    """An empty folder for this job."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        fields = asdict(self)
        return {**fields, "index": str(self.index), "scratch": str(self.scratch), "cores": list(self.cores)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        """Return the job from the result of `to_json`."""
        paths = {name: Path(fields[name]) for name in ("index", "scratch")}
        workload = Workload.from_json(fields["workload"])
        return cls(**{**fields, **paths, "workload": workload, "cores": tuple(fields["cores"])})


class Feed(ABC):
    """An endless stream of batches of (input, target)."""

    fills_cache = False
    """Whether the first epoch fills a cache and is therefore not timed."""

    def __init__(self, job: Job) -> None:
        self.job, self.workload = job, job.workload
        self.index = Index.load(job.index)

    @abstractmethod
    def batches(self) -> Iterator[tuple[int, Arrays]]:
        """Yield the number of pairs of a batch and its arrays, (B, 1, ...) each; decoders alone yield no arrays."""

    def corruption(self) -> Corruption | None:
        """Return the function that corrupts a crop, or None if there is none."""
        return None

    def report(self) -> dict[str, Any]:
        """Return further entries for the result."""
        return {}

    def close(self) -> None:
        """Stop threads and processes."""
        return

    def to_device(self, arrays: Arrays) -> Arrays:
        """Return the arrays as tensors on the job's device."""
        import torch

        tensors = tuple(torch.as_tensor(array) for array in arrays)
        return tensors if self.job.device == "cpu" else tuple(t.to("cuda", non_blocking=True) for t in tensors)


def endless(count: int, seed: int) -> Iterator[int]:
    """Yield random permutations of [0, count) without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.permutation(count).tolist()


def in_threads(threads: int, work: Callable[..., Any], batches: Iterable[list[tuple[Any, ...]]]) -> Iterator[list[Any]]:
    """Yield the results of `work` on each batch of arguments, two batches ahead; 0 threads use the caller's thread."""
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
