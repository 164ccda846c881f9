"""Test groups of items that share keys against a plain implementation."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from dali_cr.index.parts.connected import connected


@given(st.lists(st.sets(st.integers(0, 12), max_size=4), max_size=14))
def test_connected(keys: list[set[int]]) -> None:
    groups = connected(keys)
    assert sorted(item for group in groups for item in group) == list(range(len(keys)))
    assert all(group == sorted(group) for group in groups)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    reached = [
        [one == other or bool(keys[one] & keys[other]) for other in range(len(keys))] for one in range(len(keys))
    ]
    for by, one, other in product(range(len(keys)), repeat=3):
        reached[one][other] |= reached[one][by] and reached[by][other]
    place = {item: number for number, group in enumerate(groups) for item in group}
    for one, other in product(range(len(keys)), repeat=2):
        assert (place[one] == place[other]) == reached[one][other]
