"""`Source`: batches by number, made ahead of time by threads; what DALI's `external_source` calls."""

from __future__ import annotations

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dali_cr.pipeline.samples import Arrays, Samples
from dali_cr.pipeline.threads import Threads
from dali_cr.plan.plans import Plans
from dali_cr.plan.stream import Stream
from dali_cr.read.cache import Cache
from dali_cr.read.normalize import check_range
from dali_cr.volume.geometry import VolumeError

_log = logging.getLogger(__name__)


_MOST_AHEAD = 8


class Progress:
    """Groups of samples that several threads work off, each taking the next one.

    Parameters
    ----------
    groups : list of list of int
        Samples of one case, whose files are read once.
    """

    def __init__(self, groups: list[list[int]]) -> None:
        self.groups = groups
        self.errors: dict[int, BaseException] = {}
        self._taken, self._ended = 0, set[int]()
        self._changed = threading.Condition()

    def take(self) -> int | None:
        """Return the next group, or None if all are taken."""
        with self._changed:
            if self._taken == len(self.groups):
                return None
            self._taken += 1
            return self._taken - 1

    def end(self, group: int, error: BaseException | None = None) -> None:
        """Say that a group is done, or why it is not."""
        with self._changed:
            self._ended.add(group)
            if error is not None:
                self.errors[group] = error
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until all groups have ended; return False once none has for `timeout` seconds."""
        with self._changed:
            while len(self._ended) < len(self.groups):
                before, until = len(self._ended), time.monotonic() + timeout
                while len(self._ended) == before:
                    self._changed.wait(max(0.0, until - time.monotonic()))
                    if len(self._ended) == before and time.monotonic() >= until:
                        return False
        return True

    def hanging(self) -> int:
        """Return the first sample of the first group that has not ended."""
        with self._changed:
            return next(group[0] for i, group in enumerate(self.groups) if i not in self._ended)


@dataclass
class Batch:
    """A batch in the making.

    Attributes
    ----------
    plans : Plans
    arrays : dict
        By name.
    progress : Progress
    """

    plans: Plans
    arrays: Arrays
    progress: Progress = field(default_factory=lambda: Progress([]), init=False)


AnyBatch = TypeVar("AnyBatch", bound=Batch)


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
    samples : Samples
    stream : Stream
        Which sample numbers batch k has.
    threads : int, optional
        As many as this process may use cores, without it.
    lookahead : int, optional
        Batches that are being made beyond the one asked for; without it 2, or more where two batches have fewer
        samples than keep all threads busy.
    on_error : "raise" or "skip"
        What follows when a file cannot be read: the error, or the sample numbers are drawn again from other cases.
    cache : Cache, optional
        Where files are read through.
    timeout : float
        Seconds without any case's files having been read before they are said to hang.

    Attributes
    ----------
    names : tuple of str
        Of the arrays of a batch, in the order in which DALI gets them.

    Raises
    ------
    ValueError
        If the recipe cannot be applied to the index, or an argument is not as above.
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
        # One thread plans: where nothing has to be read, many would only wait for one another's interpreter lock.
        self._planning, self._pool = Threads(1, "dali_cr-plan"), Threads(self.threads, "dali_cr")
        self._begun: dict[int, Begun[AnyBatch]] = {}

    def batch(self, k: int) -> Arrays:
        """Return the arrays of batch k, or a placeholder past the stream's end.

        Raises
        ------
        VolumeError
            If a file cannot be read and `on_error` is "raise", or none can.
        """
        begun = self.begin(k)
        return self.deliver(self.finish(begun)) if begun else self.placeholder()

    def begin(self, k: int) -> Begun[AnyBatch] | None:
        """Have batch k and those after it made; return what `finish` needs, or None past the stream's end."""
        for ahead in range(k, k + self._lookahead + 1):
            numbers = self.stream.numbers(ahead)
            if ahead not in self._begun and numbers.size:
                self._begun[ahead] = Begun(ahead, numbers, self._planning.submit(self._start, numbers))
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
                future = self._planning.submit(self._start, begun.numbers)

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
        if not (self._planning.close() & self._pool.close()):
            _log.warning("a thread that reads hangs and is left behind")

    def _start(self, numbers: npt.NDArray[np.int64]) -> AnyBatch:
        """Plan a batch and have its samples made: by this thread if nothing must be read, else by all of them."""
        batch = self.prepare(numbers)
        groups = [list(group) for _, group in groupby(self.unread(batch), key=partial(self._read_with, batch.plans))]
        batch.progress = Progress(groups)
        for _ in range(min(self.threads, len(groups))):
            self._pool.submit(self._work, batch)
        return batch

    def _read_with(self, plans: Plans, i: int) -> tuple[int, int]:
        """Return what samples have in common that are made from one read: their case, unless it is in bricks."""
        case = int(plans.cases[i])
        packed = all(volume.packed for volume in self.planner.index.cases[case].volumes)
        return case, i if packed else -1

    def _work(self, batch: AnyBatch) -> None:
        """Make samples of a batch as long as there are any."""
        progress = batch.progress
        while (group := progress.take()) is not None:
            samples = progress.groups[group]
            error: BaseException | None = None
            try:
                self.fill(batch, samples)
            except VolumeError as cause:
                error = BrokenCaseError(int(batch.plans.cases[samples[0]]), cause)
            except BaseException as cause:  # the caller gets it, whatever it is
                error = cause
            progress.end(group, error)

    def _finish(self, batch: AnyBatch) -> AnyBatch:
        """Wait for a batch; all of its samples have ended when this returns or raises, but for those that hang."""
        if not batch.progress.wait(self._timeout):
            index, case = self.planner.index, int(batch.plans.cases[batch.progress.hanging()])
            path = index.root / index.cases[case].volumes[0].path
            reason = f"not read after {self._timeout:g} s: its disk hangs, or is too slow for this timeout"
            raise VolumeError(path, reason) from None
        if batch.progress.errors:
            raise batch.progress.errors[min(batch.progress.errors)]
        return batch

    def deliver(self, batch: AnyBatch) -> Arrays:
        """Return what DALI gets of a finished batch, named as in `names`."""
        return batch.arrays

    @abstractmethod
    def placeholder(self) -> Arrays:
        """Return a batch of one sample, never delivered, for a pipeline that must have a batch."""

    @abstractmethod
    def prepare(self, numbers: npt.NDArray[np.int64]) -> AnyBatch:
        """Plan a batch and return it with its arrays."""

    def unread(self, batch: AnyBatch) -> list[int]:
        """Return the samples of a batch for which something must be read."""
        return list(range(len(batch.plans)))

    @abstractmethod
    def fill(self, batch: AnyBatch, group: list[int]) -> None:
        """Make some samples of the batch, all of one case, whose files are read once."""


class BrokenCaseError(Exception):
    """A case whose file could not be read."""

    def __init__(self, case: int, cause: VolumeError) -> None:
        super().__init__(str(cause))
        self.case, self.cause = case, cause
