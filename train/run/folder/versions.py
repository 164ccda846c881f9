"""Versions and commit of the code that made a run."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import dali_cr

_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "isal",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the installed packages that affect results."""
    found = {"python": platform.python_version(), "dali-cr": dali_cr.__version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the git commit of this file, with "-dirty" if there are changes; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
