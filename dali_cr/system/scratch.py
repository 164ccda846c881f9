"""Work memory that each thread keeps from sample to sample; fresh memory costs as much in page faults as filling it."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

_kept = threading.local()


def scratch(name: str, size: int) -> npt.NDArray[np.uint8]:
    """Return this thread's bytes of a name, with whatever is in them; valid until the name is asked for again.

    Parameters
    ----------
    name : str
    size : int
        Bytes.

    Returns
    -------
    memory : (size,) uint8

    Examples
    --------
    >>> scratch("decoded", 12).view(np.float32).shape
    (3,)
    """
    memory: npt.NDArray[np.uint8] | None = getattr(_kept, name, None)
    if memory is None or memory.size < size:
        setattr(_kept, name, None)  # the old memory goes before the new comes
        memory = np.empty(size, np.uint8)
        setattr(_kept, name, memory)
    return memory[:size]
