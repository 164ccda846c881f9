"""What only an extra brings: imported when it is needed, with the extra named when it is missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

GPU_HINT = 'pip install ".[cu13]" in the checkout of dali-cr where the driver is for CUDA 13, else ".[cu12]"'
"""How to get what a GPU needs."""

TRAIN_HINT = 'pip install ".[cu13,train]" in the checkout of dali-cr (cu12 for an older driver or none)'
"""How to get what the training commands need."""

FORMATS_HINT = 'pip install ".[formats]" in the checkout of dali-cr'
"""How to get what reads other formats than NIfTI."""


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
    """Return what to install where a module of the extra `formats` is missing; empty if it is there."""
    return "" if _is_installed(module) else f"{module} is missing; {FORMATS_HINT}"


def find_missing(*modules: str) -> str:
    """Return one line that names the modules that are not installed and what to install; empty if all are.

    Parameters
    ----------
    *modules : str
        Nothing is imported but the packages that hold them.
    """
    missing = [module for module in modules if not _is_installed(module)]
    return f"{', '.join(missing)} is missing, of the extra train or cu13; {TRAIN_HINT}" if missing else ""


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # of the package that would hold it; a module that is barred
        return False
