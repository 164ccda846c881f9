"""Description of the environment of a measurement: machine, versions, commit."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measure.usage import query_gpu
from train.run.folder.versions import commit, versions

_PEERS = ("nibabel", "torchio", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def environment(device: str) -> dict[str, Any]:
    """Return the environment that results may depend on.

    Parameters
    ----------
    device : "cpu" or "cuda"
    """
    found = {name: version for name in _PEERS if (version := _version(name))}
    kernel = os.uname()
    return {
        "machine": machine_name(device),
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": query_gpu("name"),
        "gpu_memory_mib": query_gpu("memory.total"),
        "driver": query_gpu("driver_version"),
        "system": f"{kernel.sysname} {kernel.release} {kernel.machine}",
        "load_average": os.getloadavg()[0],
        "versions": {**versions(), **found},
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def machine_name(device: str) -> str:
    """Return a short name for result files: the GPU's model, or the number of CPU cores."""
    gpu = query_gpu("name") if device == "cuda" else None
    if gpu is None:
        return f"cpu{cores()}"
    words = re.sub(r"NVIDIA|GeForce|Tesla|Graphics|GPU", "", gpu).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
