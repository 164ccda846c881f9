"""`Samples`: what a recipe's samples are made of, how the CPU finishes one, and how a GPU finishes a batch.

Sources know devices and no recipe, samples know a recipe and no thread, file or pipeline. A new recipe is a plan file
in `dali_cr.plan`, a class like those in `pairs` and `multiview`, and an entry in the table of `graph`;
`tests/pipeline/test_third_recipe.py` has all three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.ops.record import IN_ARENA, RECORD, VIEW_RECORD, Rescale, describe
from dali_cr.pipeline.memory import Section
from dali_cr.plan.plans import Planner, Plans
from dali_cr.read.normalize import rescale_of
from dali_cr.recipe.per_dataset import Normalizes, normalize_of

Arrays = dict[str, Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lie:
    """Where the raw voxels of a batch's channels lie for the kernels.

    Attributes
    ----------
    firsts : (B, C) int64
        Byte at which the canonical voxel (0, 0, 0) lies, or would lie: in the sample's row or in the arena.
    strides : (B, C, 3) int64
        Signed, in elements, along canonical (D, H, W).
    in_arena : (B, C) bool
    """

    firsts: Ints
    strides: Ints
    in_arena: npt.NDArray[np.bool_]


class Samples(Protocol):
    """Samples of one recipe.

    Attributes
    ----------
    planner : Planner
    names : tuple of str
        Of the arrays that the network gets.
    inputs : tuple of str
        Of the arrays that a GPU gets beside the raw voxels and the sample numbers.
    arrays : int
        Arrays of one sample and channel that one launch makes, at most.
    """

    planner: Planner
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    arrays: int

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return the finished arrays of `count` samples, named as in `names`."""

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return what a GPU gets for `count` samples, named as in `inputs`; without the swaps it draws them."""

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Make one channel of sample i from the raw voxels of its box, or all of it but what needs every channel."""

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Finish sample i, whose channels are all there."""

    def describe(self, plans: Plans, lie: Lie, out: Arrays) -> None:
        """Write the records, and what was drawn, into the arrays of `sections`."""

    def blank(self, out: Arrays) -> None:
        """Write a placeholder, never delivered: records without voxels, and numbers that change nothing."""

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, ...]:
        """Make a batch on the device where `inputs` lie: "raw" (B, bytes), "sample" (B,), and what `describe` wrote."""


class Templates:
    """The records of an index's volumes, but for where the voxels of a sample lie.

    Parameters
    ----------
    index : Index
    normalize : str, tuple, None or mapping
        As `Restoration` takes it.
    views : bool
        Make records of views, with an affine map.
    """

    def __init__(self, index: Index, normalize: Normalizes, *, views: bool) -> None:
        self._records = np.zeros((len(index), index.channels), VIEW_RECORD if views else RECORD)
        for case, row in zip(index.cases, self._records, strict=True):
            own = normalize_of(normalize, case.dataset)
            for volume, record in zip(case.volumes, row, strict=True):
                describe(volume.dtype, volume.geometry.big_endian, rescale_of(volume, own), record)
        self.itemsizes = np.array([[v.geometry.itemsize for v in case.volumes] for case in index.cases], np.int64)
        self.shapes = np.array([case.shape for case in index.cases], np.int64)

    def take(self, plans: Plans, lie: Lie) -> npt.NDArray[Any]:
        """Return the records (B, C) of the samples' volumes."""
        records = self._records[plans.cases]
        records["flags"] |= np.where(lie.in_arena, IN_ARENA, 0).astype(np.uint8)
        return records


MakeSamples = Callable[[Planner], Samples]
