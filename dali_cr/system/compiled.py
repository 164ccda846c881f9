"""`compiled`: plain loops over arrays, compiled by Numba at their first call; they release the GIL.

Numba is imported at that call, and what it compiles is kept in a folder of the user. A file's name there is a hash of
everything that the machine code depends on: the text of each file that a function or one of its callees is in, the
constants that they use, versions, options, the types of the arguments and the CPU. Numba's own cache looks at a
function's own file only, and so runs old code after an edit of a callee elsewhere.

Arithmetic is IEEE's: every product and every sum is rounded by itself, none fused or reordered. Constants of float32
arithmetic have to be `numpy.float32`: Numba takes a Python float for float64, and a product with one is float64.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import os
import pickle
import platform
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Generic, TypeVar, cast

import numpy as np

from dali_cr.system.external import External

R = TypeVar("R")

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""Of every compiled function. Nothing is left to fast-math; a division by 0 gives what NumPy's does."""

_NO_C: dict[str, Any] = {"no_cfunc_wrapper": True}
_NO_PYTHON: dict[str, Any] = {"no_cpython_wrapper": True, **_NO_C}
"""Callers that a function has not, for whom Numba would compile an entry."""

_LIBRARIES = ("numpy", "math")
"""Modules that compiled functions may name; all else is imported by name, so that it is part of the key."""

_log = logging.getLogger(__name__)
_lock = threading.RLock()


class Compiled(Generic[R]):
    """A function that Numba compiles for each set of argument types, when it is first called with them.

    Parameters
    ----------
    function : callable
        Of arrays and numbers, in the part of Python that Numba compiles.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        functools.update_wrapper(self, function)
        self.function = cast(FunctionType, function)
        self._dispatcher: Any = None
        self._callee: Any = None

    def __call__(self, *args: Any) -> R:
        """Call the machine code."""
        return cast(R, (self._dispatcher or self.dispatcher)(*args))

    @property
    def dispatcher(self) -> Any:
        """Numba's object for calls from Python; under NUMBA_DISABLE_JIT the function itself."""
        with _lock:
            if self._dispatcher is None:
                import numba

                dispatcher = numba.njit(**OPTIONS, **_NO_C)(self.function)
                if dispatcher is not self.function:
                    for external in _externals(self.function, set()):
                        external.link()
                    dispatcher._cache = _Cache(self.function)
                self._dispatcher = dispatcher
            return self._dispatcher

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes the function for where another compiled one calls it.

        Such a call needs no entry for Python, and no file: the caller's has the code. A constant argument is int64, as
        any other number is, or each would have code of its own.
        """
        with _lock:
            if self._callee is None:
                import numba

                self._callee = numba.njit(**OPTIONS, **_NO_PYTHON)(self.function)
                self._callee.get_call_template = functools.partial(_widen, self._callee.get_call_template)
            return self._callee._numba_type_


def compiled(function: Callable[..., R]) -> Compiled[R]:
    """Have a function compiled by Numba at its first call.

    Parameters
    ----------
    function : callable
        Whatever it takes from its module is part of the cache's key: other compiled functions, C functions, numbers,
        and tuples and arrays of them.

    Returns
    -------
    compiled : Compiled
        To be called in the same way, from Python or from other compiled functions.
    """
    return Compiled(function)


def _widen(resolve: Callable[..., Any], args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
    """Resolve a call from another compiled function, with the types of numbers in place of those of constants."""
    from numba.core.types import unliteral

    return resolve(tuple(map(unliteral, args)), {name: unliteral(value) for name, value in kws.items()})


def cache_folder() -> Path:
    """Return the folder that machine code is kept in: that of NUMBA_CACHE_DIR, or one of the user's caches."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given) / "dali-cr"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches) / "dali-cr" / "compiled"


def source_key(function: FunctionType) -> str:
    """Return a hash of all text that a function is compiled from, and of the constants in it.

    Raises
    ------
    TypeError
        If it uses something whose text or value is not seen.
    """
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _parts(function: FunctionType, seen: set[FunctionType]) -> Iterator[bytes]:
    """Yield the text of a function's file, its constants, and the same of its callees."""
    if function in seen:
        return
    seen.add(function)
    yield f"{function.__module__}.{function.__qualname__}".encode()  # machine code imports its module by name
    yield Path(inspect.getfile(function)).read_bytes()
    for name, value in _used(function):
        if isinstance(value, Compiled):
            yield from _parts(value.function, seen)
        elif isinstance(value, External):
            yield repr(value).encode()
        elif not (isinstance(value, ModuleType) and value.__name__ in _LIBRARIES):
            yield f"{name} = ".encode() + _constant(name, value, function)


def _externals(function: FunctionType, seen: set[FunctionType]) -> Iterator[External]:
    """Yield the C functions that a function and its callees call."""
    if function in seen:
        return
    seen.add(function)
    for _, value in _used(function):
        if isinstance(value, Compiled):
            yield from _externals(value.function, seen)
        elif isinstance(value, External):
            yield value


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function takes from around it, by name."""
    free = inspect.getclosurevars(function).nonlocals
    for name in sorted({*_names(function.__code__), *free}):
        if name in free:
            yield name, free[name]
        elif name in function.__globals__:
            yield name, function.__globals__[name]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _constant(name: str, value: Any, function: FunctionType) -> bytes:
    """Return what tells a constant from others."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} ".encode() + value.tobytes()
    flat = value if isinstance(value, tuple) else (value,)
    if all(isinstance(one, (bool, int, float, str, np.generic)) for one in flat):
        return repr([(type(one).__name__, one) for one in flat]).encode()
    raise TypeError(
        f"{function.__qualname__}: expected compiled or C functions, numbers, and tuples and arrays of them, "
        f"got {name} of type {type(value).__name__}"
    )


class _Cache:
    """Machine code in files; what a Numba dispatcher calls its cache."""

    def __init__(self, function: FunctionType) -> None:
        import llvmlite
        import numba

        self._name, self._folder = function.__qualname__.replace("<", "").replace(">", ""), cache_folder()
        # Options such as NUMBA_BOUNDSCHECK change the machine code; where it is kept does not.
        options = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and "CACHE" not in item[0])
        versions = (platform.python_version(), np.__version__, numba.__version__, llvmlite.__version__)
        self._key = (source_key(function), versions, options, sorted(OPTIONS.items()))

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the machine code for argument types; None where there is none."""
        from numba.core.compiler import CompileResult

        target_context.refresh()
        try:
            content = self._file(signature, target_context.codegen()).read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            return None  # cut short by a full disk
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep machine code; where the folder cannot be written, go on without."""
        from numba.core.serialize import dumps

        payload = dumps(result._reduce())
        target = self._file(signature, result.codegen)
        part = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            _warn_once(self._folder, str(error))

    def enable(self) -> None:
        """Do nothing: the cache is always on."""

    disable = flush = enable

    def _file(self, signature: Any, codegen: Any) -> Path:
        key = repr((self._key, str(signature), codegen.magic_tuple()))
        return self._folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.code"


@functools.cache
def _warn_once(folder: Path, reason: str) -> None:
    _log.warning(
        "%s: machine code cannot be kept, so every process compiles it anew, for some seconds; "
        "set NUMBA_CACHE_DIR to a folder that can be written (%s)",
        folder,
        reason,
    )
