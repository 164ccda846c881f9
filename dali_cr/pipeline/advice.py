"""Warn about recipes that hardly fit the data: mostly padding, mostly clipped, or constant foreground.

Such recipes are valid, so they give warnings instead of errors. Commands print the warnings as lines.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from dali_cr.index.cases import Index
from dali_cr.index.report import printable
from dali_cr.index.values.intensities import clipped_shares
from dali_cr.pipeline.samples import Samples
from dali_cr.plan.window import shape_at
from dali_cr.read.normalize import rescale_of
from dali_cr.recipe.mask import FEW_BLOCKS
from dali_cr.recipe.per_dataset import Normalizes, normalize_of, parts_of, spacing_of
from dali_cr.recipe.recipe import Recipe
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views
from dali_cr.volume.geometry import Triple

_SHOWN = 5


class DataWarning(UserWarning):
    """Warns that data and recipe hardly fit each other."""


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each `DataWarning` once, as one line on stdout; other warnings are shown as usual."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        show_default = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> None:
            if not issubclass(category, DataWarning):
                show_default(message, category, *place, **named)
            elif str(message) not in printed:
                printed.add(str(message))
                print(f"warning    {printable(str(message))}", flush=True)

        warnings.showwarning = show
        yield


def warn_of_samples(index: Index, samples: Samples, *, stacklevel: int = 2) -> None:
    """Warn of padding, clipping, masks and blocks of the samples of an index.

    Parameters
    ----------
    index : Index
    samples : Samples
    stacklevel : int
        As for `warnings.warn`.
    """
    recipe = samples.planner.recipe
    warn_of_padding(samples.planner.index, recipe, stacklevel=stacklevel + 1)
    warn_of_clipping(index, recipe.normalize, stacklevel=stacklevel + 1)
    warn_of_masks(index, samples.names, stacklevel=stacklevel + 1)
    warn_of_blocks(recipe, stacklevel=stacklevel + 1)


def warn_of_padding(index: Index, recipe: Recipe, *, stacklevel: int = 2) -> None:
    """Warn if crops are larger than most volumes, with the share of padding.

    Parameters
    ----------
    index : Index
        Index of the planner; with slices, its volumes are reordered.
    recipe : Recipe
    stacklevel : int
        As for `warnings.warn`.
    """
    if text := _padding(
        [shape_at(case, spacing_of(recipe.spacing, case.dataset)) for case in index.cases], recipe.boxes
    ):
        warnings.warn(text, DataWarning, stacklevel=stacklevel + 1)


def _padding(shapes: Sequence[Triple], boxes: Sequence[Triple]) -> str:
    """Return the warning about padding; empty if most boxes fit into most volumes, or there are none."""
    if not boxes:
        return ""
    volumes, crops = np.array(shapes, np.float64)[:, None], np.array(boxes, np.float64)
    larger = np.any(crops > volumes, axis=2)
    if 2 * np.count_nonzero(larger) <= larger.size:
        return ""
    count = int(np.count_nonzero(np.any(larger, axis=1)))
    share = 1 - float(np.mean(np.prod(np.minimum(crops, volumes) / crops, axis=2)))
    largest = " × ".join(str(edge) for edge in np.max(boxes, axis=0).tolist())
    middle = " × ".join(f"{edge:g}" for edge in np.median(volumes[:, 0], axis=0).tolist())
    return (
        f"crop: {largest} voxels exceed {count} of {len(shapes)} volumes (median {middle}): {100 * share:.3g} % of "
        "a crop is padding; use a smaller crop"
    )


def warn_of_clipping(index: Index, normalize: Normalizes, *, stacklevel: int = 2) -> None:
    """Warn if a window clips more than half of the foreground of most volumes.

    Parameters
    ----------
    index : Index
    normalize : "zscore", "zscore-image", "percentile", ("window", low, high) or None; or a mapping
        Only windows are checked, because the other normalisations adapt to the volume.
    stacklevel : int
        As for `warnings.warn`.
    """
    for dataset, part, own in parts_of(index, normalize):
        if not isinstance(own, tuple):
            continue
        _, low, high = own
        shares = clipped_shares(part, low, high)
        if shares and median(shares) > 0.5:
            warnings.warn(
                f"{dataset and f'{dataset}: '}window: {low:g} to {high:g} clips {100 * median(shares):.3g} % of the "
                "foreground (median of the volumes); see the percentiles of `dali-cr scan`",
                DataWarning,
                stacklevel=stacklevel + 1,
            )


def warn_of_masks(index: Index, names: Sequence[str], *, stacklevel: int = 2) -> None:
    """Warn if cases have anonymisation masks that samples do not use.

    Parameters
    ----------
    index : Index
    names : sequence of str
        Names of the arrays of a batch; "valid" is computed from masks.
    stacklevel : int
        As in `warnings.warn`.
    """
    masked = sum(case.mask is not None for case in index.cases)
    if masked and "valid" not in names:
        warnings.warn(
            f"masks: {masked} of {len(index)} cases have an anonymisation mask, which these samples do not use: "
            "blurred and removed voxels count like others",
            DataWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_blocks(recipe: Restoration | Views, *, stacklevel: int = 2) -> None:
    """Warn if a mask has fewer than `FEW_BLOCKS` blocks along an axis.

    Parameters
    ----------
    recipe : Restoration or Views
    stacklevel : int
        As for `warnings.warn`.
    """
    if not isinstance(recipe, Restoration) or not (grid := recipe.mask_grid):
        return
    if min(number for number, length in zip(grid.blocks, recipe.crop, strict=True) if length > 1) < FEW_BLOCKS:
        block, crop, number = (" × ".join(map(str, edges)) for edges in (grid.block, recipe.crop, grid.blocks))
        warnings.warn(
            f"mask_block: a crop of {crop} voxels has {number} blocks of {block}, fewer than {FEW_BLOCKS} along an "
            "axis: few stay visible; use a larger crop or smaller blocks",
            DataWarning,
            stacklevel=stacklevel + 1,
        )


def without_constant(index: Index, normalize: Normalizes, *, stacklevel: int = 2) -> Index:
    """Return the cases that can be normalised, and warn about cases with constant foreground.

    Parameters
    ----------
    index : Index
    normalize : "zscore", "zscore-image", "percentile", ("window", low, high) or None; or a mapping
    stacklevel : int
        As for `warnings.warn`.

    Raises
    ------
    ValueError
        If no case can be normalised.
    """
    reasons: dict[str, str] = {}
    for case in index.cases:
        try:
            for volume in case.volumes:
                rescale_of(volume, normalize_of(normalize, case.dataset))
        except ValueError as error:
            reasons[case.name] = str(error)
    if not reasons:
        return index
    if len(reasons) == len(index):
        raise ValueError(f"normalize: expected a case that {normalize!r} can scale: {next(iter(reasons.values()))}")
    names = ", ".join(list(reasons)[:_SHOWN]) + (f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else "")
    warnings.warn(
        f"{len(reasons)} of {len(index)} cases excluded, because their foreground is constant and {normalize!r} cannot "
        f"scale it: {names}; for a loader, exclude them or normalize with a window",
        DataWarning,
        stacklevel=stacklevel + 1,
    )
    return replace(index, cases=tuple(case for case in index.cases if case.name not in reasons))
