"""`External`: a C function of a shared library that compiled functions call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


class External:
    """A C function that takes and returns whole numbers and addresses.

    Its address is looked up when a function that calls it is compiled or loaded, and known to LLVM under a name of our
    own: machine code that is kept in a file then works in every process.

    Parameters
    ----------
    name : str
        Of the function.
    library : callable
        Returns the library: ``ctypes.CDLL``.
    returns : str
        "int32" or "int64".
    *arguments : str
        Likewise; addresses are "int64".
    """

    def __init__(self, name: str, library: Callable[[], ctypes.CDLL], returns: str, *arguments: str) -> None:
        self.name, self.types = name, (returns, *arguments)
        self._library = library
        self._function: Any = None

    def __repr__(self) -> str:
        return f"External({self.name!r}, {', '.join(self.types)})"

    def __call__(self, *args: int) -> int:
        """Call it from Python."""
        return int(self._found()(*args))

    def exists(self) -> bool:
        """Whether the library and the function in it are there."""
        try:
            self._found()
        except (OSError, ImportError, AttributeError):
            return False
        return True

    def link(self) -> None:
        """Let LLVM find the function."""
        from llvmlite import binding

        binding.add_symbol(self._symbol, ctypes.cast(self._found(), ctypes.c_void_p).value)

    @property
    def _symbol(self) -> str:
        return f"dali_cr_external_{self.name}"

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes the function for where a compiled one calls it."""
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
