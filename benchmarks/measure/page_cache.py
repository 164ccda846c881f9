"""Control of the page cache: reading files into it and dropping them from it. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_BLOCK = 1 << 20


def read_once(paths: Iterable[Path]) -> None:
    """Read every file into the page cache."""
    block = bytearray(_BLOCK)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(block):
                continue


def write_back(paths: Iterable[Path]) -> None:
    """Write the dirty pages of files to the disk, since `drop` keeps them."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            os.fsync(file.fileno())


def drop(paths: Iterable[Path]) -> None:
    """Drop the pages of files from the page cache; mapped and dirty pages stay."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@cache
def can_drop(path: Path) -> bool:
    """Whether `drop` works for a file; it does not on file systems in memory, for example."""
    write_back([path])
    read_once([path])
    if not _holds_start(path):
        return False  # the system cannot tell
    drop([path])
    return not _holds_start(path)


def _holds_start(path: Path) -> bool:
    """Whether the first byte of a file is in the page cache; False if the system cannot tell."""
    with open(path, "rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except OSError:
            return False
