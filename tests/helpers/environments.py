"""Create virtual environments with this package installed as by a user."""

import importlib.metadata
import subprocess
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def build(source: Path, target: str, out: Path) -> Path:
    """Build a wheel or an sdist with hatchling, without network access."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    task = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert task.returncode == 0, task.stdout + task.stderr
    (built,) = out.iterdir()
    return built


def make_environment(folder: Path, *install: str | Path, visible: Path | None = None) -> Path:
    """Create an environment without pip, install packages, and return its Python.

    Parameters
    ----------
    folder : Path
    *install : str or Path
        Arguments of pip, in addition to options that disable package indexes.
    visible : Path, optional
        Folder of additional packages for the environment.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    if visible:
        (packages / "visible.pth").write_text(f"{visible}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-build-isolation", *install], check=True)
    return python


def all_packages() -> Path:
    """Return the folder of the packages installed here; editable installations are not in it."""
    return Path(sysconfig.get_paths()["purelib"])


def link_required(names: list[str], folder: Path) -> Path:
    """Fill a folder with links to required distributions and their requirements."""
    folder.mkdir()
    for name in _required(names):
        files = importlib.metadata.files(name) or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            (folder / top).symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(top))))
    return folder


def _required(names: list[str]) -> set[str]:
    found: set[str] = set()
    left = [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        left += map(Requirement, importlib.metadata.requires(name) or ())
    return found
