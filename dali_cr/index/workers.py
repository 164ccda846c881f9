"""Apply a function to many files on any executor, and survive workers that are killed by a file."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

from dali_cr.volume.geometry import VolumeError

File = TypeVar("File")
Result = TypeVar("Result")


def map_files(
    function: Callable[[File], Result], paths: Iterable[File], executor: Executor
) -> Iterator[tuple[File, Result | VolumeError]]:
    """Apply a function to each file, and yield the results in any order.

    Parameters
    ----------
    function : callable
        Takes a path. The function and its result must be picklable if the executor uses processes.
    paths : iterable
        Paths, or objects whose `str` is a path.
    executor : concurrent.futures.Executor
        If it breaks because a worker was killed, the files without a result are processed again, one by one in a
        separate process.

    Yields
    ------
    path : one of `paths`
    result : result of `function`, or a VolumeError
        Other exceptions are yielded as a VolumeError too, so that one file does not stop the others.
    """
    waiting: dict[Future[Result], File] = {}
    lost: list[File] = []
    for path in paths:
        try:
            waiting[executor.submit(function, path)] = path
        except BrokenExecutor:
            lost.append(path)
    for future in as_completed(waiting):
        path = waiting.pop(future)
        if isinstance(future.exception(), BrokenExecutor):
            lost.append(path)
        else:
            result: Result | VolumeError = _result(future, path)
            yield path, result
    yield from _map_alone(function, sorted(lost, key=str))


def _map_alone(function: Callable[[File], Result], paths: list[File]) -> Iterator[tuple[File, Result | VolumeError]]:
    """Process files one by one in a single process, restarted after a crash, to find the file that crashes it."""
    pool: ProcessPoolExecutor | None = None
    try:
        for path in paths:
            # Forking a process with threads may deadlock.
            pool = pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            future = pool.submit(function, path)
            if isinstance(future.exception(), BrokenExecutor):
                pool.shutdown()
                pool = None
                yield path, VolumeError(path, "the process that reads it was killed, by lack of memory or a signal")
                continue
            result: Result | VolumeError = _result(future, path)
            yield path, result
    finally:
        if pool:
            pool.shutdown()


def _result(future: Future[Result], path: object) -> Result | VolumeError:
    try:
        return future.result()
    except VolumeError as error:
        return error
    except Exception as error:
        return VolumeError(path, f"cannot be read: {type(error).__name__}: {error}")
