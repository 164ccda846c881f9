"""Import optional dependencies; errors name the extra to install."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

GPU_HINT = 'pip install ".[cu13]" in the checkout of dali-cr where the driver is for CUDA 13, else ".[cu12]"'
"""How to install the packages for a GPU."""

TRAIN_HINT = 'pip install ".[cu13,train]" in the checkout of dali-cr (cu12 for an older driver or none)'
"""How to install the packages for the training commands."""

FORMATS_HINT = 'pip install ".[formats]" in the checkout of dali-cr'
"""How to install the packages for formats other than NIfTI."""


def load(module: str) -> Any:
    """Import a module of the extras `cu12` and `cu13`.

    Parameters
    ----------
    module : str

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is missing; the message says what to install.
    """
    return _load(module, GPU_HINT)


def load_format(module: str) -> Any:
    """Import a module of the extra `formats`.

    Parameters
    ----------
    module : str

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is missing; the message says what to install.
    """
    return _load(module, FORMATS_HINT)


def _load(module: str, hint: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is missing ({error}); {hint}", name=error.name) from error


def find_missing_format(module: str) -> str:
    """Return how to install a missing module of the extra `formats`; empty if it is installed."""
    return "" if _is_installed(module) else f"{module} is missing; {FORMATS_HINT}"


def find_missing(*modules: str) -> str:
    """Return a line with the missing modules and how to install them; empty if all are installed.

    Parameters
    ----------
    *modules : str
        Names of modules; only their parent packages are imported.
    """
    missing = [module for module in modules if not _is_installed(module)]
    return f"{', '.join(missing)} is missing, part of the extra train or cu13; {TRAIN_HINT}" if missing else ""


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # the parent package is missing, or the import is blocked
        return False
