"""Reading without pydicom's warnings about values that break the standard: those that matter are checked here."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings in a process's main thread; elsewhere do nothing.

    Filters are those of the whole process: threads that set and restore them side by side would leave them wrong.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
