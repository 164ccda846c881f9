"""Batches by number, made ahead of time by threads: what DALI's `external_source` calls."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.index.volumes import Case
from dali_cr.pipeline.memory import Memory, Shared
from dali_cr.pipeline.threads import Threads
from dali_cr.plan.sample import Planner, SamplePlan
from dali_cr.plan.stream import Stream
from dali_cr.read.cache import Cache
from dali_cr.read.normalize import check_range
from dali_cr.volume.geometry import VolumeError

Arrays = tuple[npt.NDArray[Any], ...]
_log = logging.getLogger(__name__)


@dataclass
class Batch:
    """A batch in the making.

    Attributes
    ----------
    plans : list of SamplePlan
    arrays : tuple of array
        What the caller will get.
    groups : list of list of int
        Samples of one case, whose files are read once.
    fills : list of Future
        The work on each group.
    memory : dict
        Where the arrays lie.
    """

    plans: list[SamplePlan]
    arrays: Arrays
    groups: list[list[int]] = field(default_factory=list)
    fills: list[Future[None]] = field(default_factory=list)
    memory: Memory | Shared = field(default_factory=dict)


AnyBatch = TypeVar("AnyBatch", bound=Batch)


class Filler(Protocol):
    """Makes samples in place of a source's threads; the arrays of their batches lie in shared memory."""

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Make some samples of the batch, all of one case."""

    def close(self) -> None:
        """Release what it holds."""


@dataclass(frozen=True)
class Begun(Generic[AnyBatch]):
    """Batch k, of these sample numbers, that is being made."""

    k: int
    numbers: npt.NDArray[np.int64]
    future: Future[AnyBatch]


class Source(ABC, Generic[AnyBatch]):
    """Makes batches ahead of the caller.

    Parameters
    ----------
    planner : Planner
    stream : Stream
        Which sample numbers batch k has.
    threads : int, optional
        As many as this process may use cores, without it.
    lookahead : int
        Batches that are being made beyond the one asked for.
    on_error : "raise" or "skip"
        What follows when a file cannot be read: the error, or the sample numbers are drawn again from other cases.
    cache : Cache, optional
        Where files are read through.
    timeout : float
        Seconds to wait for one case's files before they are said to hang.
    filler : Filler, optional
        Makes the samples in place of the threads; closed with the source.

    Attributes
    ----------
    names : tuple of str
        What a finished batch has for the network.
    arrays : int
        How many arrays `batch` returns.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is not as above.
    """

    names: tuple[str, ...]
    arrays: int

    def __init__(
        self,
        planner: Planner,
        stream: Stream,
        *,
        threads: int | None = None,
        lookahead: int = 2,
        on_error: str = "raise",
        cache: Cache | None = None,
        timeout: float = 600.0,
        filler: Filler | None = None,
    ) -> None:
        self.threads = thread_count(threads)
        if not timeout > 0:
            raise ValueError(f"timeout: expected a number of seconds above 0, got {timeout!r}")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ValueError(f"threads: expected an integer of at least 1, got {threads!r}")
        if lookahead < 0:
            raise ValueError(f"lookahead: expected at least 0, got {lookahead}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error: expected 'raise' or 'skip', got {on_error!r}")
        check_range(planner.index, planner.recipe)
        self.planner, self.stream = planner, stream
        self.channels = planner.index.channels
        self.broken: dict[int, str] = {}
        self.cache, self._timeout = cache or Cache(()), timeout
        self._skip, self._lookahead = on_error == "skip", lookahead
        self._filler = filler
        self._pool = Threads(self.threads, "dali_cr")
        self._begun: dict[int, Begun[AnyBatch]] = {}
        self._memory: list[Memory | Shared] = [Shared() if filler else {} for _ in range(lookahead + 1)]

    def batch(self, k: int) -> Arrays:
        """Return batch k, or a blank one past the stream's end; its arrays are valid until batch k + 1 is asked for.

        Raises
        ------
        VolumeError
            If a file cannot be read and `on_error` is "raise", or none can.
        """
        begun = self.begin(k)
        return self.finish(begun).arrays if begun else self.blank()

    def begin(self, k: int) -> Begun[AnyBatch] | None:
        """Have batch k and those after it made; return what `finish` needs, or None past the stream's end."""
        for ahead in range(k, k + self._lookahead + 1):
            numbers = self.stream.numbers(ahead)
            if ahead not in self._begun and numbers.size:
                self._begun[ahead] = Begun(ahead, numbers, self._pool.submit(self._start, ahead, numbers))
        return self._begun.pop(k, None)

    def finish(self, begun: Begun[AnyBatch]) -> AnyBatch:
        """Return a batch when it is finished.

        Raises
        ------
        VolumeError
            As `batch`.
        """
        future = begun.future
        while True:
            try:
                return self._finish(future.result())
            except BrokenCaseError as error:
                if not self._skip:
                    raise error.cause from error.cause.__cause__
                self.broken[error.case] = str(error.cause)
                future = self._pool.submit(self._start, begun.k, begun.numbers)

    def seek(self, number: int, asked: int) -> int:
        """Go on from another sample number, with the first batch that is not begun yet.

        Parameters
        ----------
        number : int
        asked : int
            Batches that were asked for so far.

        Returns
        -------
        k : int
            The batch that begins with `number`; those before it that were not delivered yet are of no use.
        """
        k = max([asked, *(begun + 1 for begun in self._begun)])
        self.stream = replace(self.stream, start=number - k * self.stream.step_size)
        return k

    def close(self) -> None:
        """Stop the threads; one that hangs is left behind."""
        if not self._pool.close():
            _log.warning("a thread that reads hangs and is left behind")
        if self._filler:
            self._filler.close()
        for memory in self._memory:
            if isinstance(memory, Shared):
                memory.close()

    def _start(self, k: int, numbers: npt.NDArray[np.int64]) -> AnyBatch:
        """Plan batch k and set its samples going."""
        plans = self.planner.draw(numbers, self.broken)
        memory = self._memory[k % len(self._memory)]
        batch = self._allocate(plans, memory)
        batch.memory = memory
        batch.groups = [list(group) for _, group in groupby(range(len(plans)), key=lambda i: plans[i].case)]
        batch.fills = [self._pool.submit(self._fill_or_blame, batch, group) for group in batch.groups]
        return batch

    def _finish(self, batch: AnyBatch) -> AnyBatch:
        """Wait for a batch; all of its samples have ended when this returns or raises, but for those that hang."""
        errors = []
        for fill, group in zip(batch.fills, batch.groups, strict=True):
            try:
                errors.append(fill.exception(self._timeout))
            except FutureTimeoutError:
                path = self.planner.index.root / batch.plans[group[0]].path
                reason = f"not read after {self._timeout:g} s: its disk hangs, or is too slow for this timeout"
                raise VolumeError(path, reason) from None
        for error in errors:
            if error is not None:
                raise error
        return batch

    def _fill_or_blame(self, batch: AnyBatch, group: list[int]) -> None:
        try:
            (self._filler or self).fill(batch, group)
        except VolumeError as error:
            raise BrokenCaseError(batch.plans[group[0]].case, error) from error

    def case_of(self, plan: SamplePlan) -> Case:
        """Return the case of a plan."""
        return self.planner.index.cases[plan.case]

    @abstractmethod
    def blank(self) -> Arrays:
        """Return a batch of one sample that means nothing, for a pipeline that must have a batch."""

    @abstractmethod
    def _allocate(self, plans: list[SamplePlan], kept: Memory) -> AnyBatch:
        """Return the batch with its arrays, in memory that is used again."""

    @abstractmethod
    def fill(self, batch: AnyBatch, group: list[int]) -> None:
        """Make some samples of the batch, all of one case, whose files are read once."""


def thread_count(threads: int | None) -> int:
    """Return the number of threads that were asked for; without one, the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if threads is None else threads


def numbers_of(plans: list[SamplePlan]) -> npt.NDArray[np.int64]:
    """Return the sample numbers of plans."""
    return np.array([plan.number for plan in plans], np.int64)


class BrokenCaseError(Exception):
    """A case whose file could not be read."""

    def __init__(self, case: int, cause: VolumeError) -> None:
        super().__init__(str(cause))
        self.case, self.cause = case, cause
