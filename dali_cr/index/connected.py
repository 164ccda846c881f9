"""Groups of things that have something in common."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def connected(keys: Iterable[Iterable[Hashable]]) -> list[list[int]]:
    """Group items that share a key, directly or through other items.

    Parameters
    ----------
    keys : iterable of iterable of hashable
        The keys of each item.

    Returns
    -------
    groups : list of list of int
        Places of items, rising in each group; groups in the order of their first items. An item that shares no key is
        a group of its own.

    Examples
    --------
    >>> connected([{"a"}, {"b"}, {"a", "c"}, {}, {"c"}])
    [[0, 2, 4], [1], [3]]
    """
    parents: list[int] = []
    first_with: dict[Hashable, int] = {}

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    for place, own in enumerate(keys):
        parents.append(place)
        for key in own:
            one, other = sorted((root(first_with.setdefault(key, place)), root(place)))
            parents[other] = one  # the first item of a group is its root
    groups: dict[int, list[int]] = {}
    for place in range(len(parents)):
        groups.setdefault(root(place), []).append(place)
    return list(groups.values())
