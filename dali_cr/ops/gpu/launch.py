"""Compile and launch the CUDA kernels through CuPy.

No other module in `dali_cr.ops` imports CuPy or knows the folder of the kernels. Operations call
`launch.array_module()` and `launch.kernel(...)` through this module, so that tests can substitute NumPy and a host
build of the same kernels.

Shared device code is concatenated in front of the kernels and never `#include`d: CuPy's cache of compiled kernels is
keyed on the source text alone, so it would miss an edit of an included file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dali_cr import extras

Defines = tuple[tuple[str, str], ...]
"""Preprocessor names and their values, in order."""

Variant = tuple[str, tuple[str, ...], Defines]
"""A kernel variant: entry point, source files, defines. Each operation lists its variants in `VARIANTS`."""

Launch = Callable[[tuple[int, ...], tuple[int, ...], tuple[Any, ...]], None]
"""A compiled kernel, called with grid, block and arguments; scalar arguments must be NumPy scalars."""

_PACKAGE = Path(__file__).resolve().parents[2]
_SOURCE_FOLDERS = (_PACKAGE / "_cuda", _PACKAGE.parent / "kernels")
OPTIONS = ("--std=c++17",)
"""Options of NVRTC; CuPy adds the architecture and `-ftz=true`."""

_STORE_BYTES, _THREADS, _ROWS, _BLOCKS = 16, 256, 4, 8192


def array_module() -> Any:
    """Return CuPy.

    Raises
    ------
    ImportError
        If CuPy is not installed; the message names the extra to install.
    """
    return extras.load("cupy")


def page_locked(device: int, size: int) -> Any:
    """Return page-locked host memory that a GPU can read directly: (size,) uint8."""
    cuda = array_module().cuda
    with cuda.Device(device):
        return np.frombuffer(cuda.alloc_pinned_memory(size), np.uint8, size)


def mark() -> Any:
    """Return an event whose `done` is true once the GPU has finished the work queued on the current stream."""
    cuda = array_module().cuda
    event = cuda.Event(disable_timing=True)
    event.record(cuda.get_current_stream())
    return event


def cuda_source(*names: str) -> str:
    """Return the concatenated text of the kernel files `names`.

    A wheel has the files in `dali_cr/_cuda`, a checkout in `kernels` next to the package. A `#line` before each file
    makes compiler messages refer to the file and its line numbers.
    """
    folder = next((folder for folder in _SOURCE_FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"no CUDA sources: looked for the folders {', '.join(map(str, _SOURCE_FOLDERS))}")
    return "".join(f'#line 1 "{name}"\n{(folder / name).read_text(encoding="utf-8")}\n' for name in names)


def specialised_source(sources: tuple[str, ...], defines: Defines) -> str:
    """Return the text of `sources`, preceded by a `#define` line for each of `defines`."""
    return "".join(f"#define {name} {value}\n" for name, value in defines) + cuda_source(*sources)


def kernel(entry: str, *sources: str, defines: Defines = ()) -> Launch:
    """Return the kernel `entry`, compiled from `sources` for the current device.

    The kernel is compiled once per device and set of arguments; CuPy also caches the result on disk.

    Parameters
    ----------
    entry
        Name of an `extern "C" __global__` function.
    *sources
        Names of kernel files, shared code first.
    defines
        Values of preprocessor names, such as element and index types.

    Raises
    ------
    cupy.cuda.compiler.CompileException
        If NVRTC rejects the source; the message is its log.
    """
    return _compiled(array_module().cuda.Device().id, entry, sources, defines)


@cache
def _compiled(device: int, entry: str, sources: tuple[str, ...], defines: Defines) -> Launch:
    module = array_module().RawModule(code=specialised_source(sources, defines), options=OPTIONS)
    function: Launch = module.get_function(entry)
    return function


def rows_of(shape: tuple[int, int, int], arrays: int, itemsize: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return grid and block of a kernel that writes arrays row by row, 16 bytes per thread if rows allow it.

    The number of idle lanes along a row is as small as possible, and a thread writes at least 4 rows. A launch has only
    a few waves of blocks on a large GPU, because each block reads its record once.

    Parameters
    ----------
    shape : (3,) int
        (D, H, W) of an array.
    arrays : int
    itemsize : int
        Bytes per element.

    Returns
    -------
    grid : (blocks along the rows of an array, arrays)
    block : (lanes along a row, rows)

    Examples
    --------
    >>> rows_of((128, 128, 128), 8, 4)
    ((512, 8), (32, 8))
    """
    depth, height, width = shape
    pieces = width if width * itemsize % _STORE_BYTES else width * itemsize // _STORE_BYTES
    lanes = min((n for n in (32, 16, 8, 4, 2, 1) if n >= min(8, pieces)), key=lambda n: -(-pieces // n) * n)
    blocks = min(-(-depth * height * lanes // (_THREADS * _ROWS)), max(_BLOCKS // arrays, 1))
    return (blocks, arrays), (lanes, _THREADS // lanes)
