"""Resource usage of this process and its descendants: CPU time, memory, disk reads, GPU memory. Linux only."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def family(of: int | None = None) -> list[int]:
    """Return the running descendants of a process, by default of this one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(entry.name)):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, wanted = [], [of or os.getpid()]
    while wanted:
        children = parents.get(wanted.pop(), [])
        found += children
        wanted += children
    return found


def cpu_seconds() -> float:
    """Return the CPU time of this process and its descendants, including those that have ended."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    for pid in family():
        if fields := _stat(pid):
            total += (int(fields[11]) + int(fields[12])) / _TICK
    return total


def resident_bytes() -> int:
    """Return the proportional set size of this process and its descendants; shared pages count once in total."""
    return sum(_kib(pid, "smaps_rollup", "Pss") for pid in (os.getpid(), *family()))


def peak_bytes() -> int:
    """Return the sum of the peak resident set sizes of this process and its descendants; shared pages count in each."""
    return sum(_kib(pid, "status", "VmHWM") for pid in (os.getpid(), *family()))


def disk_bytes() -> int:
    """Return the bytes that this process and its running descendants have read from the disk."""
    return sum(_number(pid, "io", "read_bytes") for pid in (os.getpid(), *family()))


def gpu_bytes() -> int | None:
    """Return the memory in use on the first GPU by all processes; None without a driver."""
    asked = query_gpu("memory.used")
    return None if asked is None else int(float(asked) * _KIB * _KIB)


def query_gpu(field: str) -> str | None:
    """Return a field of nvidia-smi for the first GPU; None without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    ask = [command, f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name; None if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _kib(pid: int, file: str, name: str) -> int:
    """Return a field in kB of a file in /proc/PID as bytes; 0 if the process has ended."""
    return _number(pid, file, name) * _KIB


def _number(pid: int, file: str, name: str) -> int:
    """Return the number in a field of a file in /proc/PID; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
