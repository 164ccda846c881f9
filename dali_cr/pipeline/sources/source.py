"""`Source`: makes batches ahead of time with threads, for DALI's `external_source`."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.pipeline.samples import Arrays, Samples
from dali_cr.pipeline.sources.progress import Progress
from dali_cr.pipeline.threads import Threads
from dali_cr.plan.plans import Plans
from dali_cr.plan.stream import Stream
from dali_cr.read.cache import Cache
from dali_cr.read.normalize import check_range
from dali_cr.volume.geometry import VolumeError

_log = logging.getLogger(__name__)

_MOST_AHEAD = 8
"""Largest default of `lookahead`."""


@dataclass
class Batch:
    """A batch that is being made.

    Attributes
    ----------
    plans : Plans
    arrays : dict
        Arrays by name.
    progress : Progress
    """

    plans: Plans
    arrays: Arrays
    progress: Progress = field(default_factory=lambda: Progress([]), init=False)


AnyBatch = TypeVar("AnyBatch", bound=Batch)


@dataclass(frozen=True)
class PendingBatch(Generic[AnyBatch]):
    """Batch k with its sample numbers, which is being made."""

    k: int
    numbers: npt.NDArray[np.int64]
    future: Future[AnyBatch]


class Source(ABC, Generic[AnyBatch]):
    """Makes batches ahead of time.

    Parameters
    ----------
    samples : Samples
    stream : Stream
        Sample numbers of the batches.
    threads : int, optional
        Number of threads. Default: one per core available to this process.
    lookahead : int, optional
        Number of batches that are made beyond the requested one. Default: 2, or more if two batches have too few
        samples to keep all threads busy.
    on_error : "raise" or "skip"
        If a file cannot be read: raise the error, or redraw the sample numbers from other cases.
    cache : Cache, optional
        Cache for reading files.
    timeout : float
        Seconds without progress after which reading counts as hanging.

    Attributes
    ----------
    names : tuple of str
        Names of the arrays of a batch, in the order of DALI's inputs.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is invalid.
    """

    names: tuple[str, ...]

    def __init__(
        self,
        samples: Samples,
        stream: Stream,
        *,
        threads: int | None = None,
        lookahead: int | None = None,
        on_error: str = "raise",
        cache: Cache | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.threads = len(os.sched_getaffinity(0)) if threads is None else threads
        if not timeout > 0:
            raise ValueError(f"timeout: expected a number of seconds above 0, got {timeout!r}")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ValueError(f"threads: expected an integer of at least 1, got {threads!r}")
        if lookahead is None:
            lookahead = min(max(2, -(-2 * self.threads // stream.batch_size)), _MOST_AHEAD)
        if lookahead < 0:
            raise ValueError(f"lookahead: expected at least 0, got {lookahead}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error: expected 'raise' or 'skip', got {on_error!r}")
        self.samples, self.planner, self.stream = samples, samples.planner, stream
        check_range(self.planner.index, self.planner.recipe)
        self.broken: dict[int, str] = {}
        self.cache, self._timeout = cache or Cache(()), timeout
        self._skip, self._lookahead = on_error == "skip", lookahead
        # A single thread for planning, because several threads would only wait for the GIL.
        self._planning, self._pool = Threads(1, "dali_cr-plan"), Threads(self.threads, "dali_cr")
        self._pending: dict[int, PendingBatch[AnyBatch]] = {}

    def batch(self, k: int) -> Arrays:
        """Return the arrays of batch k, or a placeholder past the stream's end.

        Raises
        ------
        VolumeError
            If a file cannot be read and `on_error` is "raise", or no file can be read.
        """
        pending = self.begin(k)
        return self.deliver(self.finish(pending)) if pending else self.placeholder()

    def begin(self, k: int) -> PendingBatch[AnyBatch] | None:
        """Start making batch k and the following ones; return batch k for `finish`, or None past the end."""
        for ahead in range(k, k + self._lookahead + 1):
            numbers = self.stream.numbers(ahead)
            if ahead not in self._pending and numbers.size:
                self._pending[ahead] = PendingBatch(ahead, numbers, self._planning.submit(self._start, numbers))
        return self._pending.pop(k, None)

    def finish(self, pending: PendingBatch[AnyBatch]) -> AnyBatch:
        """Wait for a batch and return it.

        Raises
        ------
        VolumeError
            See `batch`.
        """
        future = pending.future
        while True:
            batch = future.result()
            try:
                self._wait(batch)
            except BrokenCaseError as error:
                self.discard(batch)
                if not self._skip:
                    raise error.cause from error.cause.__cause__
                self.broken[error.case] = str(error.cause)
            else:
                if self.broken.keys().isdisjoint(batch.plans.cases.tolist()):
                    return batch
                # Planned before an earlier batch found the case broken; whether it was depends on timing.
                self.discard(batch)
            future = self._planning.submit(self._start, pending.numbers)

    def seek(self, number: int, requested: int) -> int:
        """Continue from another sample number, with the first batch that was not started yet.

        Parameters
        ----------
        number : int
        requested : int
            Number of batches requested so far.

        Returns
        -------
        k : int
            The batch that starts with `number`; undelivered batches before it are discarded.
        """
        k = max([requested, *(started + 1 for started in self._pending)])
        self.stream = replace(self.stream, start=number - k * self.stream.step_size)
        return k

    def close(self) -> None:
        """Stop the threads; a hanging thread is abandoned."""
        if not (self._planning.close() & self._pool.close()):
            _log.warning("a reading thread hangs and is abandoned")

    def _start(self, numbers: npt.NDArray[np.int64]) -> AnyBatch:
        """Plan a batch and submit its samples to the threads."""
        batch = self.prepare(numbers)
        groups = [list(group) for _, group in groupby(self.unread(batch), key=partial(self._read_with, batch.plans))]
        batch.progress = Progress(groups)
        for _ in range(min(self.threads, len(groups))):
            self._pool.submit(self._work, batch)
        return batch

    def _read_with(self, plans: Plans, i: int) -> tuple[int, int]:
        """Return a key for grouping samples that share a read: their case, unless it is stored in bricks."""
        case = int(plans.cases[i])
        packed = all(volume.packed for volume in self.samples.templates.index.cases[case].volumes)
        return case, i if packed else -1

    def _work(self, batch: AnyBatch) -> None:
        """Make groups of samples of a batch until none is left."""
        progress = batch.progress
        while (group := progress.take()) is not None:
            samples = progress.groups[group]
            error: BaseException | None = None
            try:
                self.fill(batch, samples)
            except VolumeError as cause:
                error = BrokenCaseError(int(batch.plans.cases[samples[0]]), cause)
            except BaseException as cause:  # any error is passed to the caller
                error = cause
            progress.end(group, error)

    def _wait(self, batch: AnyBatch) -> None:
        """Wait until all samples of a batch have ended.

        Raises
        ------
        VolumeError
            If reading hangs.
        BrokenCaseError
            If a case cannot be read.
        """
        if not batch.progress.wait(self._timeout):
            index, case = self.planner.index, int(batch.plans.cases[batch.progress.hanging()])
            path = index.root / index.cases[case].volumes[0].path
            reason = f"not read after {self._timeout:g} s: the disk hangs or is too slow for this timeout"
            raise VolumeError(path, reason) from None
        if batch.progress.errors:
            raise batch.progress.errors[min(batch.progress.errors)]

    def deliver(self, batch: AnyBatch) -> Arrays:
        """Return the arrays of a finished batch for DALI, named as in `names`."""
        return batch.arrays

    def discard(self, batch: AnyBatch) -> None:
        """Free what a batch holds that is not delivered."""
        return None

    @abstractmethod
    def placeholder(self) -> Arrays:
        """Return a placeholder batch of one sample, never delivered."""

    @abstractmethod
    def prepare(self, numbers: npt.NDArray[np.int64]) -> AnyBatch:
        """Plan a batch and return it with its arrays."""

    def unread(self, batch: AnyBatch) -> list[int]:
        """Return the samples of a batch for which files must be read."""
        return list(range(len(batch.plans)))

    @abstractmethod
    def fill(self, batch: AnyBatch, group: list[int]) -> None:
        """Make a group of samples of one case, whose files are read once."""


class BrokenCaseError(Exception):
    """Raised for a case with a file that could not be read."""

    def __init__(self, case: int, cause: VolumeError) -> None:
        super().__init__(str(cause))
        self.case, self.cause = case, cause
