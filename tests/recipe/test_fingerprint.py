"""Test fingerprints: they hash every field, except fields added later that have their default."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_cr import Restoration, Slices, Swap, Views
from dali_cr.recipe.fingerprint import SINCE, fingerprint, matches

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


RESTORATION: dict[str, Any] = {
    "crop": (1, 8, 8), "swap": Swap(4, ((1, 1), (2, 4), 3)), "flips": ("W",), "normalize": ("window", -160, 240),
    "foreground": 1, "crops_per_volume": 2, "spacing": (1, 1, 2), "mask_value": 0, "degrees": 30, "scale": (1, 2),
    "affine_probability": 1, "noise": 2, "gamma": 1, "intensity_probability": 1,
}  # fmt: skip
VIEWS: dict[str, Any] = {
    "shape": (1, 64, 64), "locals": 2, "local_shape": (1, 32, 32), "swap": Swap(0), "scale": 0, "degrees": 9, "blur": 1,
    "noise": 1, "gamma": 1, "foreground": 0, "blur_probability": 1, "brightness": 1, "contrast": 1, "cutout": (3, 8),
    "standardize": (0, 1), "area": (1, 1), "local_area": (1, 1),
    "normalize": {"brains": "percentile", "cts": ("window", 0, 100)}, "spacing": {"brains": None, "cts": (1, 1, 1)},
}  # fmt: skip
MASKED: dict[str, Any] = {
    "crop": (8, 8, 8), "pretext": "mae", "mask_block": (2, 2, 4), "mask_ratio": 0.75, "mask_value": 0,
}  # fmt: skip
GIVEN = [(Restoration, RESTORATION), (Restoration, MASKED), (Views, VIEWS), (Swap, {"iterations": 9, "patch": (2, 3)})]
INTEGERS = {
    "crop", "crops_per_volume", "mask_block", "shape", "locals", "local_shape", "cutout", "iterations", "patch",
}  # fmt: skip


def converted(value: Any, convert: Any, kind: type) -> Any:
    """Return a value with its numbers of a type converted, also in tuples and mappings."""
    if isinstance(value, tuple):
        return tuple(converted(one, convert, kind) for one in value)
    if isinstance(value, dict):
        return {name: converted(one, convert, kind) for name, one in value.items()}
    return convert(value) if type(value) is kind else value


@pytest.mark.parametrize(("kind", "given"), GIVEN, ids=["crops", "masked", "views", "swap"])
def test_equal_numbers_of_any_type_give_the_same_recipe(kind: Any, given: dict[str, Any]) -> None:
    recipe = kind(**given)
    floats = {name: converted(value, float, int) for name, value in given.items() if name not in INTEGERS}
    for other in (
        given | floats,
        converted(given, np.int64, int),
        converted(given | floats, np.float32, float),
        given | converted(floats, lambda value: value or -0.0, float),
    ):
        same = kind(**other)
        assert (same, repr(same), fingerprint(same)) == (recipe, repr(recipe), fingerprint(recipe))


def hashed_fields(recipe: Any) -> dict[str, Any]:
    """Return the fields of the first release, and the others without their default."""
    own = {one.name: getattr(recipe, one.name) for one in fields(recipe) if one.metadata}
    used = {name: value for name, value in own.items() if value != recipe.__dataclass_fields__[name].default}
    return first_fields(recipe) | used


@pytest.mark.parametrize(("kind", "given"), GIVEN[:3], ids=["crops", "masked", "views"])
@pytest.mark.parametrize("names", [("spacing",), ("normalize", "foreground"), ("area", "degrees", "standardize")])
def test_fingerprints_of_earlier_releases_match(kind: Any, given: dict[str, Any], names: tuple[str, ...]) -> None:
    """Hash some of the numbers as given, as release 0.2.0 did."""
    recipe = kind(**given)
    earlier = {name: given[name] for name in names if name in given}
    content = json.dumps([kind.__name__, hashed_fields(recipe) | earlier])
    known = hashlib.sha256(content.encode()).hexdigest()
    assert (known != recipe.fingerprint) == bool(earlier)
    assert matches(recipe, known)
    assert not matches(replace(recipe, flips=("H",)), known)
    assert not matches(recipe, None)


@pytest.mark.parametrize(
    "given",
    [
        {"spacing": (2, 1.0, 1)},
        {"normalize": ("window", 0, 100.0)},
        {"spacing": {"a": (1, 1, 1), "b": (2.0, 1.0, 1.0)}, "foreground": 1},
    ],
    ids=str,
)
def test_fingerprints_of_earlier_releases_match_with_mixed_numbers(given: dict[str, Any]) -> None:
    recipe = Restoration(crop=(8, 8, 8), swap=Swap(0), **given)
    content = json.dumps(["Restoration", first_fields(recipe) | given])
    assert matches(recipe, hashlib.sha256(content.encode()).hexdigest())


@pytest.mark.parametrize(
    "wrong",
    [{"foreground": True}, {"foreground": "1"}, {"spacing": (True, 1, 1)}, {"normalize": ("window", False, 1)}],
    ids=str,
)
def test_what_is_no_number_is_refused(wrong: dict[str, Any]) -> None:
    for kind in (Restoration, Views):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            kind(**({"crop": (8, 8, 8), "swap": Swap(0)} if kind is Restoration else {}) | wrong)
