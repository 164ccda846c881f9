"""Per-thread scratch memory, reused because allocating a volume costs as much as decompressing it."""

from __future__ import annotations

import threading

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
