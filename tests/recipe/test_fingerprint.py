"""Test fingerprints: they hash every field, except fields added later that have their default."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_cr import Restoration, Slices, Swap, Views
from dali_cr.recipe.fingerprint import SINCE, fingerprint

LATER = {"since": "0.2.0"}
PLAIN = Restoration(crop=(8, 8, 8), swap=Swap(patch=(2, 4)))
SLICES = Restoration(crop=(1, 8, 8), swap=Swap(patch=2), slices=Slices("H", every=2))


def with_field(recipe: Any, name: str, kind: Any, **options: Any) -> type:
    """Return a class of the same name with a field added in a later release."""
    return make_dataclass(type(recipe).__name__, [(name, kind, field(**options))], bases=(type(recipe),), frozen=True)


def fields_of(recipe: Any) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def first_fields(recipe: Any) -> dict[str, Any]:
    """Return the fields that the first release had, as plain values."""
    own = {one.name: getattr(recipe, one.name) for one in fields(recipe) if SINCE not in one.metadata}
    return {name: first_fields(value) if is_dataclass(value) else value for name, value in own.items()}


@given(
    recipe=st.builds(
        Restoration,
        crop=st.tuples(*[st.integers(8, 64)] * 3),
        swap=st.builds(
            Swap, iterations=st.integers(0, 100), patch=st.sampled_from([2, (2, 4), (1, 2, 4), ((1, 2), 3, 4)])
        ),
        flips=st.sampled_from([(), ("W",), ("D", "H")]),
        normalize=st.sampled_from([None, "zscore", ("window", -160, 240.5)]),
        foreground=st.floats(0, 1),
        spacing=st.none() | st.tuples(*[st.floats(0.1, 5)] * 3),
    )
    | st.builds(Views, degrees=st.floats(0, 180), overlap=st.floats(0, 0.9))
    | st.just(SLICES)
)
def test_all_fields_of_the_first_release_are_hashed(recipe: Restoration | Views) -> None:
    content = json.dumps([type(recipe).__name__, first_fields(recipe)])
    assert recipe.fingerprint == fingerprint(recipe) == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize("recipe", [PLAIN, SLICES, Views()], ids=["crops", "slices", "views"])
@pytest.mark.parametrize(
    ("default", "options"),
    [(0, {"default": 0}), ((1, 2), {"default_factory": lambda: (1, 2)}), (None, {"default": None})],
    ids=["number", "factory", "none"],
)
def test_a_field_added_later_counts_only_where_it_is_used(recipe: Any, default: Any, options: dict[str, Any]) -> None:
    later = with_field(recipe, "later", Any, metadata=LATER, **options)
    assert later(**fields_of(recipe)).fingerprint == recipe.fingerprint
    assert later(**fields_of(recipe), later=default).fingerprint == recipe.fingerprint
    used = {later(**fields_of(recipe), later=value).fingerprint for value in (1, 2, "1")}
    assert len(used | {recipe.fingerprint}) == 4


def test_a_field_without_its_release_always_counts() -> None:
    unmarked = with_field(PLAIN, "later", int, default=0)
    assert unmarked(**fields_of(PLAIN)).fingerprint != PLAIN.fingerprint


@pytest.mark.parametrize("part", ["swap", "slices"])
def test_so_does_a_field_of_a_part(part: str) -> None:
    own = getattr(SLICES, part)
    later = with_field(own, "later", int, default=0, metadata=LATER)
    same, other = (replace(SLICES, **{part: later(**fields_of(own), later=value)}) for value in (0, 1))
    assert same.fingerprint == SLICES.fingerprint
    assert other.fingerprint != SLICES.fingerprint


def test_a_field_added_later_needs_a_default() -> None:
    @dataclass(frozen=True)
    class Recipe:
        later: int = field(metadata=LATER)

    with pytest.raises(TypeError, match=r"later: expected a default for a field added in 0\.2\.0"):
        fingerprint(Recipe(later=1))
