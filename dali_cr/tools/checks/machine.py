"""Check memory, cores, files and folders of this machine, and the compiled code."""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Iterator
from pathlib import Path

from dali_cr.system.account import user_name
from dali_cr.system.compiled import cache_folder
from dali_cr.system.memory import physical_memory, usable_memory
from dali_cr.tools.checks.finding import Finding
from dali_cr.volume.packed import deflate, lz4

_LEAST_MEMORY = 4 << 30
_LEAST_SHARED_MEMORY = 1 << 30
_LEAST_FILES = 4096


def check_machine() -> Iterator[Finding]:
    """Check memory, limits and cores, the user, and the folder and functions of compiled code."""
    for check in (_memory, _shared_memory, _open_files, _cores, _account, _compiled, _bricks):
        yield check()


def _memory() -> Finding:
    total, usable = physical_memory(), usable_memory()
    text = f"{total / 1e9:.3g} GB"
    if usable < total:
        text += f", but the container may use only {usable / 1e9:.3g} GB"
    if usable < _LEAST_MEMORY:
        return Finding("memory", "wrong", text, "little for volumes: use fewer threads or a larger container")
    return Finding("memory", "ok", text)


def _shared_memory() -> Finding:
    status = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if status is None:
        return Finding("/dev/shm", "missing", "no shared memory", 'use cache="disk:PATH" instead of "host:…"')
    total, free = status.f_frsize * status.f_blocks, status.f_frsize * status.f_bavail
    text = f"{total / 1e9:.3g} GB, {free / 1e9:.3g} GB free"
    if total < _LEAST_SHARED_MEMORY:
        return Finding("/dev/shm", "wrong", text, 'too small for cache="host:…": docker run --shm-size=16g')
    return Finding("/dev/shm", "ok", text)


def _open_files() -> Finding:
    soft, hard = (n if n != resource.RLIM_INFINITY else 2**31 for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < _LEAST_FILES:
        return Finding("open files", "wrong", f"at most {soft}", f"ulimit -n {min(hard, 65536)} before starting")
    return Finding("open files", "ok", f"at most {soft}")


def _cores() -> Finding:
    usable, total = len(os.sched_getaffinity(0)), os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = "max", "1"
    if quota != "max" and int(quota) < usable * int(period):
        share = int(quota) / int(period)
        text = f"{usable} of {total}, but the container may use only {share:g} at a time"
        return Finding("cores", "wrong", text, f"use threads={max(1, round(share))} or a larger container")
    return Finding("cores", "ok", f"{usable} of {total}")


def _account() -> Finding:
    home = os.path.expanduser("~")
    try:
        known = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        known = f"{os.getuid()} without a name; commands use USER={user_name()}"
    if not os.access(home, os.W_OK):
        return Finding("user", "wrong", f"{known}, home {home} is not writable", "set HOME to a folder for caches")
    return Finding("user", "ok", f"{known}, home {home}")


def _compiled() -> Finding:
    folder = cache_folder()
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        advice = "set NUMBA_CACHE_DIR to a writable folder: otherwise each process compiles again"
        return Finding("compiled code", "wrong", f"{parent} is not writable", advice)
    return Finding("compiled code", "ok", f"cached in {folder}")


def _bricks() -> Finding:
    """Check for the C functions that decompress bricks, which are not public interfaces of their wheels."""
    if not deflate.C_FUNCTION.exists():
        advice = "install the version of isal in constraints.txt; until then bricks compressed by zlib are refused"
        return Finding("brick stores", "wrong", f"{deflate.C_FUNCTION.name} is not in isal", advice)
    if not lz4.C_FUNCTION.exists():
        advice = "install the version of lz4 in constraints.txt"
        return Finding("brick stores", "wrong", f"{lz4.C_FUNCTION.name} is not in lz4: reading is slower", advice)
    return Finding("brick stores", "ok", "decompressed by the C functions of lz4 and isal")
