"""Suppress pydicom's warnings about non-standard values; relevant values are checked by the importer."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings in the main thread; do nothing in other threads.

    Warning filters are global, so threads that set and restore them concurrently would corrupt them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
