"""What a forked child inherits and must never finalise: pipelines and readers whose threads do not exist there.

DALI's destructor waits for threads that a fork does not copy, and closing a reader in a child would act on its
parent's files and processes. So a child lets go of them without running any of their code.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_owned: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_from_children(resource: Any) -> None:
    """Have children that are forked from now on never finalise an object, nor anything that it refers to.

    Parameters
    ----------
    resource : object
        Hashable, with room for weak references; a DALI pipeline for instance.
    """
    _owned.add(resource)


def _let_go() -> None:
    """In a child: leak what was owned, each with a reference that is never given back."""
    for resource in list(_owned):
        _leak(resource)
        backend = getattr(resource, "_pipe", None)  # a DALI pipeline's; its `atexit` function would shut it down
        if backend is not None:
            _leak(backend)
            resource._pipe = None
    _owned.clear()


def _leak(resource: Any) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(resource))


os.register_at_fork(after_in_child=_let_go)
