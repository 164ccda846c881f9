"""Threads that cannot keep a process from ending: one that hangs in a read is left behind.

`Threads` takes tasks, `Ahead` makes results in order before they are asked for.

`concurrent.futures` joins its threads when the interpreter exits, which a disk that hangs would delay for ever.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]

_BEAT = 0.05
"""Seconds after which a thread that waits for room looks whether it should end."""


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
        self._cancel()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._cancel()  # what the last tasks submitted
        return True

    def _cancel(self) -> None:
        """Cancel what has not begun."""
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
            except BaseException as error:  # the caller gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(answer)
            # Neither the task nor its batch may live until the next one comes.
            del task, future, function, arguments


class Ahead(Generic[Answer]):
    """Calls a function again and again.

    Parameters
    ----------
    make : callable
        Called by one thread only, first when the first result is asked for.
    depth : int
        Results that are kept ready.
    """

    def __init__(self, make: Callable[[], Answer], depth: int) -> None:
        self._make = make
        self._ready: queue.Queue[tuple[Answer | None, BaseException | None]] = queue.Queue(depth)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dali_cr-ahead", daemon=True)

    def take(self) -> Answer:
        """Return the next result, or raise what the function raised; after that there is nothing more to take."""
        if self._thread.ident is None:
            self._thread.start()
        answer, error = self._ready.get()
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]

    def close(self, patience: float = 10.0) -> bool:
        """End the thread; return False if it hangs in the function."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        failed = False
        while not failed and not self._ended.is_set():
            item: tuple[Answer | None, BaseException | None]
            try:
                item = self._make(), None
            except BaseException as error:  # the caller gets it, whatever it is
                item, failed = (None, error), True
            self._put(item)
            del item  # or the last result would live as long as the next one takes

    def _put(self, item: tuple[Answer | None, BaseException | None]) -> None:
        while not self._ended.is_set():
            try:
                self._ready.put(item, timeout=_BEAT)
            except queue.Full:
                continue
            return
