"""A process that finishes samples for a thread: it waits for nobody's interpreter.

NumPy lets go of the interpreter's lock at each step and takes it again, and threads that do so meet. Samples are pure
functions of their plans, so a child needs the index, the recipe and the seed once, and then plans; what it makes it
writes to memory that it shares with its parent. It is a plain subprocess: nothing is forked, and no `__main__` is run
again. It ends when its parent closes the pipe, however the parent ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.pipeline.memory import Bytes, Place, Shared
from dali_cr.pipeline.source import Batch, Source
from dali_cr.plan.sample import SamplePlan
from dali_cr.read.cache import Cache, open_cache
from dali_cr.volume.geometry import VolumeError

_MAPS = 32
"""Pieces of shared memory that a child keeps mapped: more than a source's batches have."""

_PATIENCE = 5.0
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "  # as in the parent, which may have changed it
    "from dali_cr.pipeline.processes import serve; serve()"
)


MakeSource = Callable[[Cache], Source[Any]]
"""Makes the source whose `fill` a child calls, reading through a cache; it is pickled."""


@dataclass(frozen=True)
class Setup:
    """What a child needs once: its source, and the cache that this reads through."""

    make: MakeSource
    index: Index
    levels: Sequence[str]


@dataclass(frozen=True)
class Task:
    """Samples of one case: their plans, and for each array of the batch where the first of them lies."""

    plans: list[SamplePlan]
    arrays: tuple[tuple[Place, int, tuple[int, ...], str], ...]


@dataclass(frozen=True)
class Reply:
    """What went wrong, if anything, and the hits and misses of each cache level so far."""

    error: BaseException | None
    counts: tuple[tuple[int, int], ...]


class Children:
    """As many children as threads ask for samples.

    Parameters
    ----------
    count : int
    setup, cache
        As of a `Child`.
    """

    def __init__(self, count: int, setup: Setup, cache: Cache) -> None:
        self._all = [Child(setup, cache) for _ in range(count)]
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for child in self._all:
            self._idle.put(child)

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Have samples of a batch made by a child that is idle."""
        child = self._idle.get()
        try:
            child.fill(batch, group)
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End all."""
        for child in self._all:
            child.close()


class Child:
    """The parent's end.

    Parameters
    ----------
    setup : Setup
    cache : Cache
        The parent's: it counts the child's hits and misses.
    """

    def __init__(self, setup: Setup, cache: Cache) -> None:
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._cache, self._counts = cache, tuple((0, 0) for _ in cache.levels)
        self._setup: Setup | None = setup

    def fill(self, batch: Batch, group: list[int]) -> None:
        """Have samples of a batch made; as `Source.fill`.

        Raises
        ------
        VolumeError
            If a file cannot be read.
        RuntimeError
            If the process has ended.
        """
        try:
            if self._setup:
                _send(self._input, self._setup)
                self._setup = None
            _send(self._input, _task(batch, group))
            reply: Reply = pickle.load(self._output)
        except (EOFError, OSError) as error:
            raise RuntimeError(
                f"a process that makes samples ended with {self._process.wait()} (negative: the signal that killed "
                "it; -9 is often a lack of memory); take fewer threads, or processes=False"
            ) from error
        for level, (hits, misses), (before, others) in zip(self._cache.levels, reply.counts, self._counts, strict=True):
            level.count(hits - before, misses - others)
        self._counts = reply.counts
        if reply.error:
            raise reply.error

    def close(self) -> None:
        """End the process; one that hangs is killed."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._input.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout
        return self._process.stdout


def _send(stream: IO[bytes], message: Any) -> None:
    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _task(batch: Batch, group: list[int]) -> Task:
    """Return what a child must know: the samples of a group follow one another."""
    arrays = []
    assert isinstance(batch.memory, Shared)
    for number, place in batch.memory.places.items():
        array = batch.arrays[number]
        arrays.append((place, group[0] * array[0].nbytes, (len(group), *array.shape[1:]), array.dtype.str))
    return Task([batch.plans[i] for i in group], tuple(arrays))


def serve() -> None:
    """Be a child: read tasks from standard input and answer on standard output until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    tasks, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints must not get among the replies
    try:
        setup: Setup = pickle.load(tasks)
    except EOFError:  # closed before there was anything to do
        return
    cache, maps = open_cache(setup.levels, setup.index), OrderedDict[int, Bytes]()
    source = setup.make(cache)
    while True:
        try:
            task: Task = pickle.load(tasks)
        except EOFError:
            break
        arrays = tuple(_view(maps, *where) for where in task.arrays)
        error = _try(source, Batch(task.plans, arrays))
        _send(replies, Reply(error, tuple((level.hits, level.misses) for level in cache.levels)))
    source.close()
    cache.close()


def _try(source: Source[Any], batch: Batch) -> Exception | None:
    """Make all samples of a batch, which are of one case; return what went wrong."""
    try:
        source.fill(batch, list(range(len(batch.plans))))
    except VolumeError as error:
        return error
    except Exception:
        return RuntimeError(f"in a process that makes samples:\n{traceback.format_exc()}")
    return None


def _view(
    maps: OrderedDict[int, Bytes], place: Place, start: int, shape: tuple[int, ...], dtype: str
) -> npt.NDArray[Any]:
    """Return a part of the parent's memory as an array."""
    if place.serial not in maps:
        maps[place.serial] = place.open()
    maps.move_to_end(place.serial)
    while len(maps) > _MAPS:
        maps.popitem(last=False)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return maps[place.serial][start : start + size].view(dtype).reshape(shape)
