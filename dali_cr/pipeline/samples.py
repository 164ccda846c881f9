"""`Samples`: the protocol for making samples of a recipe, one by one on the CPU or in batches on a GPU.

Sources depend on the device but not on the recipe; samples depend on the recipe but not on threads, files or the
pipeline. A new recipe needs a planner in `dali_cr.plan`, a class like `Pairs` and `MultiView`, and an entry in
the table of `recipes`; see `tests/pipeline/test_third_recipe.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dali_cr.index.cases import Index
from dali_cr.index.corpus.masks import with_masks
from dali_cr.ops.records.layout import IN_ARENA, RECORD, VIEW_RECORD
from dali_cr.ops.records.rescale import Rescale, describe
from dali_cr.pipeline.memory import Section
from dali_cr.plan.plans import Planner, Plans
from dali_cr.read.normalize import rescales_of
from dali_cr.recipe.per_dataset import Normalizes

Arrays = dict[str, Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VoxelLayout:
    """Memory layout of the raw voxels of a batch, for the kernels.

    Attributes
    ----------
    firsts : (B, C) int64
        Byte offset of canonical voxel (0, 0, 0) in the sample's row or in the arena; may be virtual.
    strides : (B, C, 3) int64
        Signed, in elements, along canonical (D, H, W).
    in_arena : (B, C) bool
        Whether the offset is in the arena.
    """

    firsts: Ints
    strides: Ints
    in_arena: npt.NDArray[np.bool_]


class Samples(Protocol):
    """Makes the samples of one recipe.

    Attributes
    ----------
    planner : Planner
    names : tuple of str
        Names of the output arrays.
    inputs : tuple of str
        Names of the inputs of a GPU, in addition to raw voxels and sample numbers.
    arrays : int
        Largest number of arrays that one launch makes per sample and channel.
    """

    planner: Planner
    templates: Templates
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    arrays: int

    def outputs(self, count: int) -> tuple[Section, ...]:
        """Return the sections of the outputs of `count` samples, named as in `names`."""

    def sections(self, count: int, *, swaps: bool = True) -> tuple[Section, ...]:
        """Return the sections of the GPU's inputs for `count` samples; without `swaps` the GPU draws them."""

    def fill(self, plans: Plans, i: int, channel: int, raw: npt.NDArray[Any], rescale: Rescale, out: Arrays) -> None:
        """Make one channel of sample i from the raw voxels of its box."""

    def complete(self, plans: Plans, i: int, out: Arrays) -> None:
        """Finish sample i after all its channels were made."""

    def describe(self, plans: Plans, layout: VoxelLayout, out: Arrays) -> None:
        """Write the records and draws of a batch into the arrays of `sections`."""

    def blank(self, out: Arrays) -> None:
        """Write a placeholder, never delivered: records without voxels, and inputs without effect."""

    def finish(self, inputs: Arrays, arena: Any = None) -> tuple[Any, ...]:
        """Make a batch on the device of `inputs`: "raw" (B, bytes), "sample" (B,), and the output of `describe`."""


class Templates:
    """The records of all volumes of an index, without the positions of the voxels.

    Parameters
    ----------
    index : Index
    normalize : str, tuple, None or mapping
        As in `Restoration`.
    views : bool
        Whether to make records of views, with an affine map.
    masks : bool
        Whether to read the anonymisation masks of cases too, if there are any.

    Attributes
    ----------
    index : Index
        Index of the volumes to read for a sample: the channels, and the mask as the last one.
    masks : bool
        Whether the last channel is a mask.
    rescales : list of list of Rescale
        Intensity mapping of each volume of each case.
    """

    def __init__(self, index: Index, normalize: Normalizes, *, views: bool, masks: bool = False) -> None:
        self.index = with_masks(index) if masks else index
        self.masks = self.index is not index
        index = self.index
        self.rescales = rescales_of(index, normalize, masks=self.masks)
        self._records = np.zeros((len(index), index.channels), VIEW_RECORD if views else RECORD)
        for case, row, rescales in zip(index.cases, self._records, self.rescales, strict=True):
            for volume, rescale, record in zip(case.volumes, rescales, row, strict=True):
                describe(volume.dtype, volume.geometry.big_endian, rescale, record)
        self.itemsizes = np.array([[v.geometry.itemsize for v in case.volumes] for case in index.cases], np.int64)
        self.shapes = np.array([case.shape for case in index.cases], np.int64)

    def take(self, plans: Plans, layout: VoxelLayout) -> npt.NDArray[Any]:
        """Return copies of the records (B, C) of the volumes of a batch."""
        records = self._records[plans.cases]
        records["flags"] |= np.where(layout.in_arena, IN_ARENA, 0).astype(np.uint8)
        return records


MakeSamples = Callable[[Planner], Samples]
