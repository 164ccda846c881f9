"""A row of `benchmarks.kernels`: its case, and the subject to time with its check and the bytes that must move.

The other modules here draw random inputs for the cases of their operations. With a `HostClock` a subject runs the CPU
implementation; with a clock whose arrays are not NumPy's, the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure.clock import HostClock
from benchmarks.workloads.workload import Triple

Numbers = npt.NDArray[Any]

_DISTINCT = 8
"""Number of different samples in a batch; larger batches repeat them with other swaps and flips."""


@dataclass(frozen=True)
class Case:
    """A row: an operation with its dtype and sizes."""

    op: str
    """One of the operations of `benchmarks.kernels.OPS`."""
    dtype: str
    """Dtype of the file's voxels, or of the swapped voxels."""
    edge: int
    batch: int
    iterations: int = 0
    patch: int = 0

    @property
    def crop(self) -> Triple:
        """The crop (D, H, W)."""
        return (self.edge, self.edge, self.edge)

    @property
    def voxels(self) -> int:
        """The number of voxels of the batch."""
        return self.batch * self.edge**3


@dataclass(frozen=True)
class Subject:
    """A case with its inputs, ready to run."""

    run: Callable[[], Any]
    """The function to time, on the device."""
    wrong: Callable[[], str | None]
    """The check: runs once on fresh inputs and returns the error in the outputs, or None."""
    reference: Callable[[], Any] | None
    """The same work on the CPU, unless `run` is that; must run after the check, as it may change the inputs."""
    must_move: int
    """Minimum number of bytes to move: each needed voxel is read once, each changed voxel is written once."""
    moves: int
    """Number of bytes that this implementation moves."""


@dataclass(frozen=True)
class Operations:
    """The operations of a module: their names, which are those of `--ops`, and their rows."""

    names: tuple[str, ...]
    list_cases: Callable[[tuple[int, ...], tuple[int, ...]], list[Case]]
    """Returns all cases for edges of crops and batch sizes."""
    prepare: Callable[[Case, HostClock, np.random.Generator], Subject]
    """Draws the inputs of a case and returns its subject."""


def compared(case: Case, clock: HostClock) -> list[int]:
    """Return the samples to compare with the reference: all on a CPU, the first and the last on a GPU.

    This limits the time of the reference; tests compare whole batches.
    """
    return list(range(case.batch)) if clock.arrays is np else sorted({0, case.batch - 1})


def distinct(case: Case) -> int:
    """Return the number of different samples in a batch."""
    return min(case.batch, _DISTINCT)


def repeated(samples: Numbers, case: Case) -> Numbers:
    """Repeat samples to fill a batch."""
    return samples if len(samples) == case.batch else samples[np.arange(case.batch) % len(samples)]


def difference(got: Numbers, wanted: Numbers) -> str | None:
    """Return the bitwise difference of two arrays as text, or None."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"expected {wanted.dtype} {wanted.shape}, got {got.dtype} {got.shape}"
    words = f"u{got.itemsize}"
    count = int((got.view(words) != wanted.view(words)).sum())
    return f"{count} of {got.size} voxels differ from the reference" if count else None
