"""`External`: call a C function of a shared library from compiled functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


class External:
    """A C function with integer and address arguments and an integer result.

    Its address is looked up when a caller is compiled or loaded, and registered with LLVM under a unique name, so that
    cached machine code works in every process.

    Parameters
    ----------
    name : str
        Name of the function.
    library : callable
        Returns the library: ``ctypes.CDLL``.
    returns : str
        "int32" or "int64".
    *arguments : str
        Types of the arguments, "int32" or "int64"; addresses are "int64".
    """

    def __init__(self, name: str, library: Callable[[], ctypes.CDLL], returns: str, *arguments: str) -> None:
        self.name, self.types = name, (returns, *arguments)
        self._library = library
        self._function: Any = None

    def __repr__(self) -> str:
        return f"External({self.name!r}, {', '.join(self.types)})"

    def __call__(self, *args: int) -> int:
        """Call the function from Python."""
        return int(self._found()(*args))

    def exists(self) -> bool:
        """Whether the library and its function exist."""
        try:
            self._found()
        except (OSError, ImportError, AttributeError):
            return False
        return True

    def link(self) -> None:
        """Register the address of the function with LLVM."""
        from llvmlite import binding

        binding.add_symbol(self._symbol, ctypes.cast(self._found(), ctypes.c_void_p).value)

    @property
    def _symbol(self) -> str:
        return f"dali_cr_external_{self.name}"

    @property
    def _numba_type_(self) -> Any:
        """Numba type of the function in calls from compiled functions."""
        from numba import types

        returns, *arguments = (getattr(types, name) for name in self.types)
        return types.ExternalFunction(self._symbol, returns(*arguments))

    def _found(self) -> Any:
        if self._function is None:
            returns, *arguments = (getattr(ctypes, f"c_{name}") for name in self.types)
            self._function = ctypes.CFUNCTYPE(returns, *arguments)((self.name, self._library()))
        return self._function


def libc() -> ctypes.CDLL:
    """Return the C library."""
    return ctypes.CDLL(None)
