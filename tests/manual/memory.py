"""Run a loader for thousands of batches and check that the memory of the process does not grow.

::

    python -m tests.manual.memory --recipe pairs --device cpu --keep 2

On a machine without a GPU, ``--device emulated`` runs the GPU's graph with its kernels built for the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import dali_cr
from dali_cr.ops.gpu import launch
from dali_cr.tools.phantom_files import write_phantoms
from tests.cuda_on_cpu.host import HostCuda
from tests.helpers.recipes import RECIPES, emulated_source, loader

MOST_GROWTH = 4 << 20
"""Tolerance in bytes between two measurements: allocators round up, and tables of the interpreter grow."""


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def used_at(
    stream: dali_cr.Loader, looks: Sequence[int], keep: int, measures: Sequence[Callable[[], int]] = (resident,)
) -> list[list[int]]:
    """Return the memory in bytes after each of these numbers of batches, with the last `keep` batches kept."""
    used, kept = [], deque[Any](maxlen=keep)
    for step, batch in enumerate(stream.stream(), 1):
        kept.append(batch)
        del batch
        if step in looks:
            used.append([measure() for measure in measures])
        if step == looks[-1]:
            return used
    raise AssertionError("a stream has no end")


@contextmanager
def emulated() -> Iterator[None]:
    """Make loaders for a CPU run the GPU graph with kernels built for the CPU."""
    cuda = HostCuda()
    modules = mock.patch.multiple(launch, array_module=lambda: cuda.arrays, kernel=cuda.kernel)
    with modules, mock.patch("dali_cr.loader.make_source", emulated_source):
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line; return 1 if memory grew after the first measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="pairs")
    parser.add_argument("--device", choices=("cpu", "emulated", "cuda"), default="cpu")
    parser.add_argument("--cache", nargs="*", default=[])
    parser.add_argument("--looks", type=int, nargs="+", default=[500, 1500, 3000], help="batches before each")
    parser.add_argument("--keep", type=int, default=0, help="batches that the caller keeps")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder), count=6, shape=(24, 30, 36))
        index = dali_cr.scan(Path(folder) / "images", progress=False)
        device = "cuda" if options.device == "cuda" else "cpu"
        graph = emulated() if options.device == "emulated" else nullcontext()
        with graph, loader(index, RECIPES[options.recipe], device=device, cache=options.cache) as stream:
            used = [size for (size,) in used_at(stream, options.looks, options.keep)]
    for look, size in zip(options.looks, used, strict=True):
        print(f"{look} batches: {size / 2**20:.1f} MiB")
    return int(max(used) - used[0] > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
