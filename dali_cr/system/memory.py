"""Memory limits of this process: the memory of the machine, or the limit of a container's control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def physical_memory() -> int:
    """Return the memory of the machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usable_memory() -> int:
    """Return the memory in bytes that this process may use."""
    return min((physical_memory(), *group_limits()))


@cache
def bytes_at_start() -> int:
    """Return the memory of this process in bytes at the first call; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@cache
def group_limits() -> tuple[int, ...]:
    """Return the limits of the control groups in bytes; cached, because every file read needs them."""
    return tuple(_limits())


def _limits() -> Iterator[int]:
    """Yield the limits of this process's control groups and their parents, for cgroup versions 1 and 2."""
    try:
        lines = _OF_THIS_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _up(_GROUPS, path, "memory.max")
            # Hybrid setup of systemd, with both versions mounted.
            yield from _up(_GROUPS / "unified", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _up(_GROUPS / "memory", path, "memory.limit_in_bytes")


def _up(root: Path, path: str, name: str) -> Iterator[int]:
    """Yield the limits of a group and its parents; in a container the path may be that of the host."""
    group = PurePosixPath(path.lstrip("/"))
    for folder in (group, *group.parents):
        try:
            yield int((root / folder / name).read_text())
        except (OSError, ValueError):
            continue  # the group does not exist, or its limit is "max"
