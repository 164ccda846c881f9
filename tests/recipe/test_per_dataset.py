"""Fields of recipes by data set: checked when they are made and against the index; plain recipes are what they were."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import dali_cr
from dali_cr.index.volumes import Case
from dali_cr.recipe.per_dataset import check_datasets
from tests.helpers.recipes import PAIRS, VIEWS

NORMALIZE: dict[str, Any] = {"cts": ["window", -160, 240], "brains": "percentile"}
SPACING: dict[str, Any] = {"brains": None, "cts": (2.5, 1, 1)}


@pytest.mark.parametrize("plain", [PAIRS, VIEWS], ids=["pairs", "views"])
def test_a_recipe_by_data_set(plain: Any) -> None:
    recipe = replace(plain, normalize=NORMALIZE, spacing=SPACING)
    assert recipe.normalize == {"brains": "percentile", "cts": ("window", -160, 240)}
    turned = replace(plain, normalize=dict(reversed(NORMALIZE.items())), spacing=SPACING)
    assert (turned, turned.fingerprint, hash(turned)) == (recipe, recipe.fingerprint, hash(recipe))
    assert len({one.fingerprint for one in (plain, recipe, replace(plain, spacing=SPACING))}) == 3
    assert json.loads(json.dumps(asdict(recipe)))["normalize"]["cts"] == ["window", -160, 240]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalize": {"a": "zscores"}}, "a: normalize: expected zscore"),
        ({"spacing": {"a": (1, 1)}}, "a: spacing: expected three positive numbers"),
        ({"normalize": {}}, "normalize: expected a value by the name of each data set"),
        ({"spacing": {1: None}}, "spacing: expected a value by the name of each data set"),
    ],
)
@pytest.mark.parametrize("plain", [PAIRS, VIEWS], ids=["pairs", "views"])
def test_what_is_no_field_by_data_set(plain: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(plain, **change)


def test_recipes_keep_their_own_rules() -> None:
    with pytest.raises(ValueError, match="expected percentile or a window"):
        replace(VIEWS, normalize={"a": "percentile", "b": "zscore"})
    with pytest.raises(ValueError, match="spacing: expected none with slices"):
        replace(PAIRS, crop=(1, 9, 9), slices=dali_cr.Slices(), swap=dali_cr.Swap(0), spacing=SPACING)


def test_data_sets_of_the_index_are_those_of_the_recipe() -> None:
    cases = tuple(Case(f"{name}/1", (), dataset=name) for name in ("brains", "cts"))
    index = dali_cr.Index(Path(), cases, datasets={"brains": "a", "cts": "b"})
    recipe = replace(PAIRS, normalize=NORMALIZE)
    check_datasets(recipe, index)
    check_datasets(recipe, index.subset(["cts/1"]))
    for wrong, message in (
        ({"brains": "zscore"}, "expected a value for each of the data sets brains, cts, got none for cts"),
        ({**NORMALIZE, "ct": None}, "expected the data sets brains, cts, got 'ct'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_datasets(replace(PAIRS, normalize=wrong), index)
    with pytest.raises(ValueError, match="expected one value for an index without data sets"):
        check_datasets(recipe, dali_cr.Index(Path(), cases))
