"""Connected components of items that share keys."""

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
        Indices of items, ascending in each group; groups are sorted by their first item. An item that shares no key
        forms a group alone.

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

    for item, item_keys in enumerate(keys):
        parents.append(item)
        for key in item_keys:
            one, other = sorted((root(first_with.setdefault(key, item)), root(item)))
            parents[other] = one  # the first item of a group is its root
    groups: dict[int, list[int]] = {}
    for item in range(len(parents)):
        groups.setdefault(root(item), []).append(item)
    return list(groups.values())
