"""Test that a loader's memory does not grow with the number of batches; `tests.manual.memory` runs thousands."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import dali_cr
from tests.helpers.recipes import RECIPES, loader
from tests.manual.memory import MOST_GROWTH, resident, used_at


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_memory_stays_flat(mixed_index: dali_cr.Index, recipe: Any, each_device: str) -> None:
    """Measure the process, with the last two batches kept, and on a GPU all used memory."""
    looks = {"cpu": (60, 460), "emulated": (30, 80), "cuda": (500, 1500)}[each_device]
    cache = () if each_device == "cpu" else "gpu:1GB"
    measures: list[Callable[[], int]] = [resident]
    if each_device == "cuda":
        measures.append(lambda: -torch.cuda.mem_get_info()[0])
    with loader(mixed_index, recipe, cache=cache) as stream:
        before, after = used_at(stream, looks, 2, measures)
    for one, other in zip(before, after, strict=True):
        assert other - one < MOST_GROWTH


def test_a_leak_is_noticed(mixed_index: dali_cr.Index) -> None:
    with loader(mixed_index, RECIPES["pairs"]) as stream:
        before, after = used_at(stream, (10, 110), 200, [resident])
    assert after[0] - before[0] > MOST_GROWTH
