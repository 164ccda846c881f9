"""What only an extra brings: imported when it is needed, with the extra named when it is missing."""

from __future__ import annotations

import importlib
from typing import Any

GPU_HINT = 'pip install ".[cu13]" in the checkout of dali-cr where the driver is for CUDA 13, else ".[cu12]"'
"""How to get what a GPU needs."""


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
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is missing ({error}); {GPU_HINT}", name=error.name) from error
