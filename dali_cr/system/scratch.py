"""Per-thread scratch memory, reused because allocating a volume costs as much as decompressing it."""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt

_scratch = threading.local()


def scratch(name: str, size: int) -> memoryview:
    """Return `size` bytes of this thread's buffer `name`; earlier contents are invalid."""
    kept: bytearray | None = getattr(_scratch, name, None)
    if kept is None or len(kept) < size:
        kept = None
        setattr(_scratch, name, None)  # free the old memory before the new allocation
        kept = bytearray(size)
        setattr(_scratch, name, kept)
    return memoryview(kept)[:size]


def scratch_floats(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return `scratch` as a float32 array."""
    return np.frombuffer(scratch(name, 4 * math.prod(shape)), np.float32).reshape(shape)
