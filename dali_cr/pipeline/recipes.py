"""Make the samples of a recipe, and their source for a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dali_cr.index.cases import Index
from dali_cr.ops.gpu import launch
from dali_cr.pipeline.multiview.samples import MultiView
from dali_cr.pipeline.pairs.samples import Pairs
from dali_cr.pipeline.samples import MakeSamples, Samples
from dali_cr.pipeline.sources.cpu import FinishedSource
from dali_cr.pipeline.sources.raw import RawSource
from dali_cr.plan.crops.planner import CropPlanner
from dali_cr.plan.order.mixture import Weights
from dali_cr.plan.plans import Planner
from dali_cr.plan.stream import Stream
from dali_cr.plan.views.planner import ViewPlanner
from dali_cr.read.cache import Cache, open_cache, parse_cache
from dali_cr.read.gpu_cache import Arena
from dali_cr.recipe.recipe import Recipe
from dali_cr.recipe.restoration import Restoration
from dali_cr.recipe.views import Views

AnySource = FinishedSource | RawSource

MakePlanner = Callable[[Index, Any, int, Weights | None], Planner]

RECIPES: dict[type, tuple[MakePlanner, MakeSamples]] = {
    Restoration: (CropPlanner, Pairs),
    Views: (ViewPlanner, MultiView),
}
"""Planner and samples class by type of recipe."""


def make_samples(index: Index, recipe: Recipe, seed: int, weights: Weights | None = None) -> Samples:
    """Make the planner and the samples of a recipe.

    Raises
    ------
    TypeError
        If it is not an index, or not a recipe.
    """
    if not isinstance(index, Index):
        raise TypeError(f"index: expected an Index, got {index!r}; dali_cr.scan(folder) returns one")
    found = next((made for kind, made in RECIPES.items() if isinstance(recipe, kind)), None)
    if found is None:
        names = ", ".join(kind.__name__ for kind in RECIPES)
        raise TypeError(f"recipe: expected one of {names}, got {type(recipe).__name__}")
    make_planner, samples = found
    return samples(make_planner(index, recipe, seed, weights))


def make_source(
    samples: Samples,
    stream: Stream,
    device: str,
    levels: Sequence[str] = (),
    cache: Cache | None = None,
    *,
    whole: bool = False,
    **options: Any,
) -> AnySource:
    """Make the source for a device, with the described cache levels.

    Parameters
    ----------
    samples : Samples
    stream : Stream
    device : "cuda", "cuda:N" or "cpu"
    levels : sequence of str
        As for `dali_cr.read.cache.parse_cache`.
    cache : Cache, optional
        Host and disk levels that are already open.
    whole : bool
        Pass a batch to DALI as one sample.
    **options
        Options of `Source`.

    Raises
    ------
    ValueError
        If a level is invalid, or is a GPU level and the device is the CPU.
    """
    budgets = [budget for kind, _, budget in map(parse_cache, levels) if kind == "gpu"]
    number, index = device_number(device), samples.templates.index
    if budgets and number is None:
        raise ValueError(f"cache: a 'gpu' level needs a GPU, got the device {device!r}; use 'host:...' or 'disk:...'")
    options["cache"] = cache or open_cache(levels, index)
    if number is None:
        return FinishedSource(samples, stream, **options)
    arena = Arena(sum(budgets), index) if budgets else None
    memory: dict[str, Any] = {"allocate": partial(launch.page_locked, number), "mark": launch.mark} if whole else {}
    return RawSource(samples, stream, arena=arena, whole=whole, **memory, **options)


def device_number(device: str) -> int | None:
    """Return the number of the GPU, or None for the CPU.

    Raises
    ------
    ValueError
        If it is not "cpu", "cuda" or "cuda:N".
    """
    kind, _, number = str(device).partition(":")
    if kind == "cpu" and not number:
        return None
    if kind != "cuda" or (number and not number.isdigit()):
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    return int(number or 0)
