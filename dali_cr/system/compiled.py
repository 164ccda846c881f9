"""`compiled`: compile loops over arrays with Numba at their first call, without the GIL.

Numba is imported at that call, and machine code is cached in a folder of the user. The name of a cached file is a hash
of everything that the machine code depends on: the source files of the function and its callees, their constants,
versions, options, argument types and the CPU. Numba's own cache considers only the file of the function itself, so it
would run outdated code after an edit of a callee in another file.

Arithmetic follows IEEE 754: every product and sum is rounded separately, never fused or reordered. Constants in float32
arithmetic must be `numpy.float32`, because Numba treats Python floats as float64.
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
"""Options of all compiled functions: no fast-math, and division by 0 as in NumPy."""

_NO_C: dict[str, Any] = {"no_cfunc_wrapper": True}
_NO_PYTHON: dict[str, Any] = {"no_cpython_wrapper": True, **_NO_C}
"""Options that skip unused entry points."""

_LIBRARIES = ("numpy", "math")
"""Modules that compiled functions may use by name; everything else must be imported by name to be part of the key."""

_log = logging.getLogger(__name__)
_lock = threading.RLock()


class Compiled(Generic[R]):
    """A function that Numba compiles at its first call with each set of argument types.

    Parameters
    ----------
    function : callable
        Function of arrays and numbers, in the subset of Python that Numba supports.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        functools.update_wrapper(self, function)
        self.function = cast(FunctionType, function)
        self._dispatcher: Any = None
        self._callee: Any = None

    def __call__(self, *args: Any) -> R:
        """Call the compiled function."""
        return cast(R, (self._dispatcher or self.dispatcher)(*args))

    @property
    def dispatcher(self) -> Any:
        """Numba's dispatcher for calls from Python; the function itself with NUMBA_DISABLE_JIT."""
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
        """Numba type of the function in calls from other compiled functions.

        Such a call needs no Python entry point and no cached file, because the file of the caller contains the code.
        Literal arguments are widened to int64, otherwise each value would be compiled separately.
        """
        with _lock:
            if self._callee is None:
                import numba

                self._callee = numba.njit(**OPTIONS, **_NO_PYTHON)(self.function)
                self._callee.get_call_template = functools.partial(_widen, self._callee.get_call_template)
            return self._callee._numba_type_


def compiled(function: Callable[..., R]) -> Compiled[R]:
    """Mark a function for compilation by Numba at its first call.

    Parameters
    ----------
    function : callable
        Everything that it uses from its module is part of the cache key: compiled functions, C functions, numbers, and
        tuples and arrays of numbers.

    Returns
    -------
    compiled : Compiled
        Called in the same way, from Python or from other compiled functions.
    """
    return Compiled(function)


def _widen(resolve: Callable[..., Any], args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
    """Resolve a call from another compiled function, with literal types replaced by the types of numbers."""
    from numba.core.types import unliteral

    return resolve(tuple(map(unliteral, args)), {name: unliteral(value) for name, value in kws.items()})


def cache_folder() -> Path:
    """Return the cache folder of machine code: in NUMBA_CACHE_DIR if set, else in the user's cache folder."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given) / "dali-cr"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches) / "dali-cr" / "compiled"


def source_key(function: FunctionType) -> str:
    """Return a hash of the source files and constants that a function is compiled from.

    Raises
    ------
    TypeError
        If it uses an object that cannot be hashed.
    """
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _parts(function: FunctionType, seen: set[FunctionType]) -> Iterator[bytes]:
    """Yield the source file and constants of a function, and those of its callees."""
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
    """Yield the global and closure variables of a function, by name."""
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
    """Return bytes that identify the type and value of a constant."""
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
    """Cache of machine code in files, with the interface of Numba's caches."""

    def __init__(self, function: FunctionType) -> None:
        import llvmlite
        import numba

        self._name, self._folder = function.__qualname__.replace("<", "").replace(">", ""), cache_folder()
        # Options such as NUMBA_BOUNDSCHECK change the machine code; the location of the cache does not.
        options = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and "CACHE" not in item[0])
        versions = (platform.python_version(), np.__version__, numba.__version__, llvmlite.__version__)
        self._key = (source_key(function), versions, options, sorted(OPTIONS.items()))

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the cached machine code for argument types, or None."""
        from numba.core.compiler import CompileResult

        target_context.refresh()
        try:
            content = self._file(signature, target_context.codegen()).read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            return None  # truncated by a full disk
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Cache machine code; only warn if the folder cannot be written."""
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
        "%s: machine code cannot be cached, so every process compiles it again, which takes seconds; "
        "set NUMBA_CACHE_DIR to a writable folder (%s)",
        folder,
        reason,
    )
