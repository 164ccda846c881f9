"""Work memory that each thread keeps: a fresh allocation of a volume's size costs as much as decompressing into it."""

from __future__ import annotations

import threading

_scratch = threading.local()


def scratch(name: str, size: int) -> memoryview:
    """Return this thread's memory `name`, of `size` bytes; what it held before is no longer valid."""
    kept: bytearray | None = getattr(_scratch, name, None)
    if kept is None or len(kept) < size:
        kept = None
        setattr(_scratch, name, None)  # the old memory goes before the new comes
        kept = bytearray(size)
        setattr(_scratch, name, kept)
    return memoryview(kept)[:size]
