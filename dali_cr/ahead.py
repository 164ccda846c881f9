"""Results made ahead of the caller, in order, by a thread of its own: asking for one costs no more than taking it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_BEAT = 0.05
"""Seconds after which a thread that waits for room looks whether it should end."""


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
