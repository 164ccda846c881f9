"""Prevent forked children from finalising the pipelines and readers of their parent.

DALI's destructor waits for threads that do not exist in a forked child, and closing a reader there would affect the
files of the parent. A child therefore leaks these objects instead of destroying them.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_owned: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_from_children(resource: Any) -> None:
    """Never finalise an object, or objects that it refers to, in children that are forked later.

    Parameters
    ----------
    resource : object
        Hashable and weakly referenceable, such as a DALI pipeline.
    """
    _owned.add(resource)


def _leak_all() -> None:
    """Leak the registered objects in a child, with a reference that is never released."""
    for resource in list(_owned):
        _leak(resource)
        backend = getattr(resource, "_pipe", None)  # of a DALI pipeline; an `atexit` function would shut it down
        if backend is not None:
            _leak(backend)
            resource._pipe = None
    _owned.clear()


def _leak(resource: Any) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(resource))


os.register_at_fork(after_in_child=_leak_all)
