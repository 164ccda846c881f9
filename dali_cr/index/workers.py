"""Ask the same of many files on any executor, and outlive the workers that a file kills."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

from dali_cr.volume.geometry import VolumeError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def ask_each(
    ask: Callable[[Asked], Answer], paths: Iterable[Asked], executor: Executor
) -> Iterator[tuple[Asked, Answer | VolumeError]]:
    """Ask a question of each file, in any order.

    Parameters
    ----------
    ask : callable
        Of a path; what it returns, and it, must pickle where the executor needs that.
    paths : iterable
        Paths, or what stands for files and is told as one by `str`.
    executor : concurrent.futures.Executor
        One that breaks, since a worker of it was killed, costs none of the other files: those without an answer are
        asked again, one by one, in a process of their own.

    Yields
    ------
    path : one of `paths`
    answer : what `ask` returned, or a VolumeError
        Whatever else `ask` raised is told as a VolumeError too: one file must not cost the others.
    """
    waiting: dict[Future[Answer], Asked] = {}
    lost: list[Asked] = []
    for path in paths:
        try:
            waiting[executor.submit(ask, path)] = path
        except BrokenExecutor:
            lost.append(path)
    for future in as_completed(waiting):
        path = waiting.pop(future)
        if isinstance(future.exception(), BrokenExecutor):
            lost.append(path)
        else:
            answer: Answer | VolumeError = _answer(future, path)
            yield path, answer
    yield from _ask_alone(ask, sorted(lost, key=str))


def _ask_alone(ask: Callable[[Asked], Answer], paths: list[Asked]) -> Iterator[tuple[Asked, Answer | VolumeError]]:
    """Ask in one process, and in a new one after each death: so it is known which file kills."""
    pool: ProcessPoolExecutor | None = None
    try:
        for path in paths:
            # Forking a process with threads may lock up.
            pool = pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            future = pool.submit(ask, path)
            if isinstance(future.exception(), BrokenExecutor):
                pool.shutdown()
                pool = None
                yield path, VolumeError(path, "the process that reads it dies, by lack of memory or a signal")
                continue
            answer: Answer | VolumeError = _answer(future, path)
            yield path, answer
    finally:
        if pool:
            pool.shutdown()


def _answer(future: Future[Answer], path: object) -> Answer | VolumeError:
    try:
        return future.result()
    except VolumeError as error:
        return error
    except Exception as error:
        return VolumeError(path, f"cannot be read: {type(error).__name__}: {error}")
