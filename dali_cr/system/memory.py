"""How much memory this process may use: the machine's, or less where a container's control group limits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def physical_memory() -> int:
    """Return the bytes of memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usable_memory() -> int:
    """Return the bytes of memory that this process may use."""
    return min((physical_memory(), *group_limits()))


@cache
def bytes_at_start() -> int:
    """Return the memory in bytes that this process had when this was first asked; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@cache
def group_limits() -> tuple[int, ...]:
    """Return the limits that control groups set, in bytes; read once, as every read of a file asks for them."""
    return tuple(_limits())


def _limits() -> Iterator[int]:
    """Yield the limits of this process's control groups and of those above them, of version 1 and of version 2."""
    try:
        lines = _OF_THIS_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(_GROUPS, path, "memory.max")
            # Both versions side by side, as systemd's hybrid setup mounts them.
            yield from _up(_GROUPS / "unified", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _up(_GROUPS / "memory", path, "memory.limit_in_bytes")


def _up(root: Path, path: str, name: str) -> Iterator[int]:
    """Yield the limits in a group and in those above it; in a container the path may be that of the host."""
    group = PurePosixPath(path.lstrip("/"))
    for place in (group, *group.parents):
        try:
            yield int((root / place / name).read_text())
        except (OSError, ValueError):
            continue  # no such group here, or "max"
