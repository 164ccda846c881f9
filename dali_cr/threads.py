"""Worker threads that cannot keep a process from ending: one that hangs in a read is left behind.

`concurrent.futures` joins its threads when the interpreter exits, which a disk that hangs would delay for ever.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """A fixed number of daemon threads that take tasks in the order they were submitted.

    Parameters
    ----------
    count : int
    name : str
        Of the threads, in a debugger or a profile.
    """

    def __init__(self, count: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        """Return the future of a call."""
        future: Future[Answer] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def close(self, patience: float = 10.0) -> bool:
        """Cancel what has not begun and wait for what has, `patience` seconds at most.

        Returns
        -------
        ended : bool
            False if a thread hangs; it is left behind.
        """
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = function(*arguments)
            except BaseException as error:  # the caller gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(answer)
            # Neither the task nor its batch may live until the next one comes.
            del task, future, function, arguments
