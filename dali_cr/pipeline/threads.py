"""Daemon threads that never block the exit of a process, even if a read hangs.

`Threads` is a pool for tasks, `Ahead` prefetches the results of a function in order. `concurrent.futures` is not used,
because it joins its threads at exit, which would wait forever for a hanging disk.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]

_POLL_SECONDS = 0.05
"""Interval in seconds at which a waiting thread checks whether it should end."""


class Threads:
    """A pool of daemon threads that process tasks in the order of submission.

    Parameters
    ----------
    count : int
    name : str
        Name prefix of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Submit a call and return its future."""
        future: Future[Result] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def close(self, patience: float = 10.0) -> bool:
        """Cancel pending tasks and wait for running ones, at most `patience` seconds.

        Returns
        -------
        ended : bool
            False if a thread hangs; it is abandoned.
        """
        self._cancel()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._cancel()  # tasks submitted by the last running tasks
        return True

    def _cancel(self) -> None:
        """Cancel all pending tasks."""
        with suppress(queue.Empty):
            while True:
                if task := self._tasks.get_nowait():
                    task[0].cancel()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = function(*arguments)
            except BaseException as error:  # any error is passed to the caller
                future.set_exception(error)
            else:
                future.set_result(answer)
            # Release the task and its batch before waiting for the next one.
            del task, future, function, arguments


class Ahead(Generic[Result]):
    """Calls a function repeatedly and keeps its results ready.

    Parameters
    ----------
    make : callable
        Called by one thread only, starting with the first `take`.
    depth : int
        Number of results that are kept ready.
    """

    def __init__(self, make: Callable[[], Result], depth: int) -> None:
        self._make = make
        self._ready: queue.Queue[tuple[Result | None, BaseException | None]] = queue.Queue(depth)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dali_cr-ahead", daemon=True)

    def take(self) -> Result:
        """Return the next result, or raise the exception of the function, after which there are no more results."""
        if self._thread.ident is None:
            self._thread.start()
        answer, error = self._ready.get()
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]

    def close(self, patience: float = 10.0) -> bool:
        """Stop the thread; return False if it hangs in the function."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        failed = False
        while not failed and not self._ended.is_set():
            item: tuple[Result | None, BaseException | None]
            try:
                item = self._make(), None
            except BaseException as error:  # any error is passed to the caller
                item, failed = (None, error), True
            self._put(item)
            del item  # release the last result before making the next one

    def _put(self, item: tuple[Result | None, BaseException | None]) -> None:
        while not self._ended.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
