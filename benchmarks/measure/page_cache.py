"""Which files the page cache holds: all that a run reads, or for a cold disk none of them. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_BLOCK = 1 << 20


def read_once(paths: Iterable[Path]) -> None:
    """Read every file, so that what follows finds it in the page cache."""
    block = bytearray(_BLOCK)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(block):
                continue


def write_back(paths: Iterable[Path]) -> None:
    """Have every file's pages written to the disk: `drop` leaves those that are not."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            os.fsync(file.fileno())


def drop(paths: Iterable[Path]) -> None:
    """Ask the kernel to forget the pages of files; those that are mapped or not yet written stay."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@cache
def can_drop(path: Path) -> bool:
    """Whether the pages of a file are gone after `drop`: not where a file system lies in memory, for one."""
    write_back([path])
    read_once([path])
    if not _holds_start(path):
        return False  # the system cannot say
    drop([path])
    return not _holds_start(path)


def _holds_start(path: Path) -> bool:
    """Whether the first byte of a file is in the page cache; false where the system cannot say."""
    with open(path, "rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except OSError:
            return False
