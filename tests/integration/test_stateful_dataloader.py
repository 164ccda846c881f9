"""Test that epochs of a Loader are as long as those of torchdata's StatefulDataLoader."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

import dali_cr
from tests.helpers import recipes
from tests.helpers.recipes import VIEWS

CASES, BATCH = 5, 2
STEPS, PER_EPOCH = 3, 6
"""Steps of an epoch of 5 cases in batches of 2."""

RECIPES = {"pairs": dali_cr.Restoration((8, 10, 12), dali_cr.Swap(4, (2, 4))), "views": VIEWS}


@pytest.fixture(scope="module")
def index(mixed_index: dali_cr.Index) -> dali_cr.Index:
    return replace(mixed_index, cases=mixed_index.cases[:CASES])


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@pytest.mark.parametrize("stop", range(STEPS + 1))
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_same_number_of_steps(index: dali_cr.Index, recipe: Any, stop: int) -> None:
    def lengths(first: Any, second: Any) -> list[int]:
        whole = stop == STEPS  # then the end of the epoch is detected
        taken = len(list(iter(first) if whole else islice(first, stop)))
        second.load_state_dict(first.state_dict())
        return [taken, len(list(second)), len(list(second)), len(second)]

    theirs = lengths(*(StatefulDataLoader(range(PER_EPOCH), batch_size=BATCH) for _ in range(2)))
    loaders = [recipes.loader(index, recipe, batch_size=BATCH) for _ in range(2)]
    with loaders[0] as first, loaders[1] as second:
        assert lengths(first, second) == theirs
