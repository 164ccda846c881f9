"""Compile CUDA kernels with the host's C++ compiler and run them on NumPy arrays with emulated threads and barriers.

`HostCuda` replaces CuPy in `dali_cr.ops.gpu.launch`. It is stricter than a GPU: scalars and arrays must have the width
that the kernel declares, all threads of a block must reach a barrier, misaligned loads are errors, uninitialised memory
contains a sentinel, and writes next to an array from `empty` are detected.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import types
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dali_cr.ops.gpu.launch import Defines, Launch, specialised_source

ORDERS = (0, 1, 2, 3)
"""Orders in which threads and blocks run between barriers: forward, reverse, and two shuffles."""

CACHE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "d" / "cuda_on_cpu"
"""Folder of compiled kernels, named by a hash of all inputs; `pytest --cache-clear` empties it."""

_HEADERS = Path(__file__).resolve().parent
_CHECKS = "alignment,null,bounds,shift,signed-integer-overflow,integer-divide-by-zero"
_FLAGS = (
    "-std=c++17 -O2 -fPIC -shared -ffp-contract=off -fno-strict-aliasing -U_FORTIFY_SOURCE "
    f"-fsanitize={_CHECKS} -fno-sanitize-recover={_CHECKS}"
).split()
_GUARD_BYTES = 256
_SENTINEL = 0xA5
_GRID_LIMIT = (2**31 - 1, 65535, 65535)
_BLOCK_LIMIT = (1024, 1024, 64)
_THREAD_LIMIT = 1024


class KernelError(RuntimeError):
    """Raised for a fault in a kernel: one that stops a GPU, or one that a GPU does not report."""


class _Parameter(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char), ("size", ctypes.c_int), ("alignment", ctypes.c_int))


def compiler() -> str | None:
    """Return the host's C++ compiler, or None if there is none."""
    names = (os.environ.get("CXX"), "g++", "c++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _build(text: str) -> Path:
    """Compile `text` unless it is cached, and return the library."""
    command = [compiler() or "g++", *_FLAGS, f"-I{_HEADERS}"]
    headers = [path.read_text() for path in sorted(_HEADERS.glob("*.h*"))]
    library = CACHE / f"{hashlib.sha256(chr(0).join([*command, *headers, text]).encode()).hexdigest()[:32]}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            built = Path(folder) / library.name
            task = subprocess.run([*command, "-x", "c++", "-", "-o", built], input=text, text=True, capture_output=True)
            if task.returncode:
                raise KernelError(f"the host compiler refuses the kernel:\n{task.stderr}")
            built.replace(library)  # atomic: several test processes share the cache
    return library


class _Library:
    """One kernel, compiled for the host."""

    def __init__(self, entry: str, text: str) -> None:
        head = re.search(rf'extern\s+"C"\s+__global__([^;{{}}]*)\b{entry}\s*\(', text)
        if head is None:
            raise KernelError(f'no extern "C" __global__ function is named {entry}')
        bounds = re.search(r"__launch_bounds__\s*\(([^,)]+)", head[1])
        limit = bounds[1] if bounds else _THREAD_LIMIT
        wrapped = (
            f'#include "cuda.hpp"\nnamespace device {{ namespace {{\n{text}\n#line 1 "{entry}"\n'
            f"constexpr int thread_limit = {limit};\n}} }}\nCUDA_ON_CPU_ENTRY(device::{entry}, device::thread_limit)\n"
        )
        # PyDLL keeps the GIL: the state of the emulation is global, so launches must not overlap.
        code = ctypes.PyDLL(str(_build(wrapped)))
        self.launch = code.cuda_on_cpu_launch
        self.launch.restype = ctypes.c_char_p
        self.thread_limit: int = code.cuda_on_cpu_thread_limit()
        parameters = (_Parameter * 64)()
        self.parameters = parameters[: code.cuda_on_cpu_parameters(parameters)]


_load = lru_cache(maxsize=None)(_Library)


def _address(parameter: _Parameter, argument: Any) -> int:
    """Return the address of an array, checked against the pointer `parameter`; `np.uint64(0)` is a null pointer."""
    if isinstance(argument, np.uint64) and argument == 0:
        return 0
    if not isinstance(argument, np.ndarray):
        raise TypeError(f"a pointer was given {type(argument).__name__}")
    structs = parameter.kind == b"s"
    if argument.nbytes % parameter.size if structs else argument.itemsize != parameter.size:
        raise TypeError(f"a pointer to {parameter.size} bytes was given an array of {argument.dtype} {argument.shape}")
    address: int = argument.ctypes.data
    if address % parameter.alignment:
        raise KernelError(f"a pointer that needs {parameter.alignment}-byte alignment was given {address:#x}")
    return address


def _packed(position: int, parameter: _Parameter, argument: Any) -> ctypes.Array[ctypes.c_char]:
    """Return the bytes of an argument; raise an error for types that CuPy would pass wrongly."""
    kind = parameter.kind.decode()
    try:
        if kind in "ps":
            return ctypes.create_string_buffer(_address(parameter, argument).to_bytes(8, "little"), 8)
        if not isinstance(argument, np.generic):
            raise TypeError(f"a scalar was given {type(argument).__name__}: wrap it in a fixed width, as np.int32(n)")
        if (argument.dtype.kind, argument.dtype.itemsize) != (kind, parameter.size):
            raise TypeError(f"a scalar of kind '{kind}' and {parameter.size} bytes was given {argument.dtype}")
    except (TypeError, KernelError) as error:
        raise type(error)(f"kernel argument {position}: {error}") from None
    return ctypes.create_string_buffer(argument.tobytes(), parameter.size)


def _extent(name: str, given: tuple[int, ...], limits: tuple[int, int, int]) -> ctypes.Array[ctypes.c_uint]:
    shape = (*given, 1, 1)[:3]
    if not all(1 <= int(edge) <= limit for edge, limit in zip(shape, limits, strict=True)):
        raise ValueError(f"the {name} {given} is outside 1 to {limits}")
    return (ctypes.c_uint * 3)(*(int(edge) for edge in shape))


def host_kernel_from_text(entry: str, text: str, order: int = 0) -> Launch:
    """Return the kernel `entry` of the CUDA source `text`, called as in CuPy with grid, block and arguments."""
    library = _load(entry, text)

    def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        extents = _extent("grid", grid, _GRID_LIMIT), _extent("block", block, _BLOCK_LIMIT)
        if (threads := int(np.prod(block))) > library.thread_limit:
            raise ValueError(f"{threads} threads a block; {entry} allows {library.thread_limit}")
        if len(args) != len(library.parameters):
            raise TypeError(f"{entry} takes {len(library.parameters)} arguments, not {len(args)}")
        values = [_packed(i, *pair) for i, pair in enumerate(zip(library.parameters, args, strict=True))]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        if message := library.launch(*extents, pointers, ctypes.c_longlong(order)):
            raise KernelError(message.decode())

    return launch


def host_kernel(entry: str, *sources: str, defines: Defines = (), order: int = 0) -> Launch:
    """Return the kernel `entry` of the files `sources`; see `dali_cr.ops.gpu.launch.kernel`."""
    return host_kernel_from_text(entry, specialised_source(sources, defines), order)


class HostCuda:
    """Replacement for CuPy and NVRTC that runs kernels on the CPU.

    Attributes
    ----------
    order
        One of `ORDERS`; takes effect at the next launch.
    arrays
        NumPy, except that new arrays contain NaN or a sentinel instead of uninitialised memory.
    """

    def __init__(self) -> None:
        self.order = 0
        self.arrays = types.ModuleType("poisoned_numpy", "NumPy whose `empty` is poisoned.")
        vars(self.arrays).update(vars(np), empty=self._empty, empty_like=self._empty_like, asnumpy=np.asarray)
        self._guarded: list[tuple[weakref.ref[np.ndarray], int]] = []

    def kernel(self, entry: str, *sources: str, defines: Defines = ()) -> Launch:
        """Return a kernel as `dali_cr.ops.gpu.launch.kernel` does, compiled for the host."""
        text = specialised_source(sources, defines)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            host_kernel_from_text(entry, text, self.order)(grid, block, args)
            self._check_guards(entry)

        return launch

    def _empty(self, shape: int | tuple[int, ...], dtype: Any = float, order: str = "C") -> np.ndarray:
        if order != "C":
            raise NotImplementedError(f"a poisoned array in {order} order")
        dtype, shape = np.dtype(dtype), (shape,) if np.ndim(shape) == 0 else tuple(shape)
        size = int(np.prod(shape)) * dtype.itemsize
        memory = np.full(size + 3 * _GUARD_BYTES, _SENTINEL, np.uint8)
        memory = memory[-memory.ctypes.data % _GUARD_BYTES :][: size + 2 * _GUARD_BYTES]
        self._guarded.append((weakref.ref(memory.base), size))
        array = memory[_GUARD_BYTES : _GUARD_BYTES + size].view(dtype).reshape(shape)
        if dtype.kind == "f":
            array.fill(np.nan)
        return array

    def _empty_like(self, prototype: np.ndarray, dtype: Any = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
        return self._empty(prototype.shape if shape is None else shape, prototype.dtype if dtype is None else dtype)

    def _check_guards(self, entry: str) -> None:
        """Check the sentinels around every array from `empty` that still exists."""
        # A reference is kept during the check, because another thread may drop the array.
        alive = [(guarded, memory) for guarded in self._guarded if (memory := guarded[0]()) is not None]
        self._guarded = [guarded for guarded, _ in alive]
        for (_, size), memory in alive:
            start = -memory.ctypes.data % _GUARD_BYTES + _GUARD_BYTES
            if (memory[:start] != _SENTINEL).any() or (memory[start + size :] != _SENTINEL).any():
                raise KernelError(f"{entry} wrote outside an array of {size} bytes")
