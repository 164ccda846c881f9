"""What a GPU makes of a batch that `ViewRawSource` read: clean, corrupted and local views, in a few launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from dali_cr.arena import Arena
from dali_cr.ops.batch import as_batch
from dali_cr.ops.blur import blur
from dali_cr.ops.gamma import gamma
from dali_cr.ops.gather import gather_views, gather_views_ref
from dali_cr.ops.noise import add_noise
from dali_cr.ops.swap import swap_in_place
from dali_cr.ops.zscore import zscore
from dali_cr.view_source import INTENSITIES, corrupt_ref
from dali_cr.views import GLOBALS, Views


def finish_views(
    raw: list[Any],
    globals_: list[Any],
    locals_: list[Any],
    swaps: list[Any],
    intensities: list[Any],
    counters: list[Any],
    *,
    recipe: Views,
    seed: int,
    arena: Arena | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Make a batch's views from what a `ViewRawSource` gives, on the GPU.

    Parameters
    ----------
    raw : list of B (bytes,) uint8
    globals_, locals_ : list of B (views, C, 32) int64
    swaps : list of B (2, T, 3, 3) int32
    intensities : list of B (views, 5) float32
    counters : list of B (views, 2) int64
    recipe : Views
    seed : int
        Of the noise.
    arena : Arena, optional
        Takes the volumes that this batch brings, and is read in place.

    Returns
    -------
    view, target, local : list of B arrays
    """
    rows, kept = as_batch(raw), None
    if arena:
        arena.upload(rows)
        kept = arena.memory
    target = gather_views(rows, as_batch(globals_), recipe.shape, arena=kept)
    local = gather_views(rows, as_batch(locals_), recipe.local_shape, arena=kept)
    numbers, places = as_batch(intensities), as_batch(counters)
    view = _corrupt(target, numbers[:, :GLOBALS], seed, places[:, :GLOBALS], recipe.blur, as_batch(swaps))
    local = _corrupt(local, numbers[:, GLOBALS:], seed, places[:, GLOBALS:], recipe.blur)
    return list(view), list(target), list(local)


def finish_views_ref(
    raw: list[Any],
    globals_: list[Any],
    locals_: list[Any],
    swaps: list[Any],
    intensities: list[Any],
    counters: list[Any],
    *,
    recipe: Views,
    seed: int,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Make a batch's views in NumPy; the definition of `finish_views`."""
    rows = np.stack(raw)
    target = gather_views_ref(rows, np.stack(globals_), recipe.shape)
    local = gather_views_ref(rows, np.stack(locals_), recipe.local_shape)
    view = np.empty_like(target)
    for i, (numbers, places) in enumerate(zip(intensities, counters, strict=True)):
        corrupt_ref(target[i], numbers[:GLOBALS], seed, places[:GLOBALS], swaps[i], view[i])
        corrupt_ref(local[i], numbers[GLOBALS:], seed, places[GLOBALS:], (), local[i])
    return list(view), list(target), list(local)


def _corrupt(clean: Any, numbers: Any, seed: int, counters: Any, most: float, swaps: Any = None) -> Any:
    """Return views (B, V, C, D, H, W), corrupted."""
    numbers = numbers.reshape(-1, INTENSITIES)
    sigmas, deviations, exponents = (numbers[:, part].copy() for part in (slice(3), 3, 4))
    # The largest that a deviation can be once it is a float32.
    radius = int(4 * float(np.float32(most)) + 0.5)
    views = blur(clean.reshape(-1, *clean.shape[2:]), sigmas, radius)
    add_noise(views, deviations, seed, counters.reshape(-1, 2).copy())
    gamma(views, exponents)
    if swaps is not None:
        swap_in_place(views, swaps.reshape(len(views), *swaps.shape[2:]))
    return zscore(views).reshape(clean.shape)
