"""The state of a loader: its position, and what must be the same to continue there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dali_cr.index.cases import Index
from dali_cr.plan.epochs import Epochs
from dali_cr.plan.order.mixture import Weights
from dali_cr.recipe.fingerprint import matches
from dali_cr.recipe.recipe import Recipe

FORMAT = 3
"""Version of a state with weights, else 2; version 1 lacks the start of the epoch and can still be loaded."""


def make_state(
    epochs: Epochs, seed: int, index: Index, recipe: Recipe, weights: Weights | None, broken: Mapping[int, str]
) -> dict[str, Any]:
    """Return a state as plain numbers and strings.

    Parameters
    ----------
    epochs : Epochs
        The position.
    seed : int
    index : Index
    recipe : Recipe
    weights : mapping of str to float, optional
    broken : mapping of int to str
        Cases that could not be read, with the reasons.
    """
    return {
        "format": FORMAT if weights else FORMAT - 1,
        "seed": seed,
        "next": epochs.next,
        "epoch_start": epochs.first,
        "index": index.fingerprint,
        "recipe": recipe.fingerprint,
        "broken": {str(case): reason for case, reason in broken.items()},
        **({"weights": weights} if weights else {}),
    }


def check_state(state: Mapping[str, Any], own: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise ValueError unless a loader can continue at a state.

    Parameters
    ----------
    state : mapping
    own : mapping
        State of the loader.
    recipe : Recipe
        Recipe of the loader.

    Raises
    ------
    ValueError
        If data, recipe, weights, seed or format differ; the message says which.
    """
    if state.get("format") not in range(1, FORMAT + 1):
        raise ValueError(
            f"state: expected format 1 to {FORMAT}, got {state.get('format')!r}; "
            "load it with the version of dali-cr that wrote it"
        )
    same = {name: state.get(name) == own.get(name) for name in ("seed", "index", "recipe", "weights")}
    same["recipe"] = matches(recipe, state.get("recipe"))
    if not all(same.values()):
        differing = ", ".join(name for name, equal in same.items() if not equal)
        raise ValueError(
            f"state: expected the same seed, index, recipe and weights, but {differing} differ; "
            "make the loader as before, or start a new stream"
        )
