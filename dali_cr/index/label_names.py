"""Parse names of labels in JSON: from name to values or from value to name, with background and ignore label."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

IGNORE = "ignore"
"""nnU-Net's name of the label for voxels without annotation."""

Members = list[tuple[str, tuple[int, ...]]]
"""Names with their label values, in the order of the file."""


class JsonObject(list[tuple[str, Any]]):
    """A JSON object as a list of pairs, because a `dict` drops all but the last of equal keys."""

    def get(self, key: str) -> Any:
        """Return the value of a key, or None if it is missing."""
        values = [value for name, value in self if name == key]
        if len(values) > 1:
            raise ValueError(f"{key!r}: expected it once, got it twice")
        return values[0] if values else None


def clean_name(text: object) -> str:
    """Return a name stripped and in Unicode's composed form, so that names that look alike are equal."""
    return unicodedata.normalize("NFC", str(text)).strip()


def read_members(named: JsonObject) -> Members:
    """Return names with their label values, from an object with either of the two as keys.

    Raises
    ------
    ValueError
        If a value is not an integer of at least 0, a name is empty, or a region contains the background.
    """
    if not isinstance(named, JsonObject):
        raise ValueError(f"labels: expected an object, got {named}")
    by_number = all(_is_number(key) and isinstance(value, str) for key, value in named)
    pairs = [(value, key) if by_number else (key, value) for key, value in named]
    members: Members = []
    for name, values in pairs:
        numbers = [as_number(value) for value in (values if isinstance(values, list) else [values])]
        if not clean_name(name) or not numbers:
            raise ValueError(f"expected a name and a number for each label, got {name!r}: {values}")
        members.append((clean_name(name), tuple(sorted(set(numbers)))))
    for name, region in members:
        if len(region) > 1 and 0 in region:
            raise ValueError(f"region {name!r}: expected labels of at least 1, got 0, which is the background")
        if len(region) > 1 and name == IGNORE:
            raise ValueError(f"ignore: expected one label, got {list(region)}")
    return members


def _is_number(text: str) -> bool:
    return text.strip().isdecimal()


def as_number(value: Any) -> int:
    """Return the number of a label, which JSON may store as text.

    Raises
    ------
    ValueError
        If it is not an integer of at least 0.
    """
    if isinstance(value, str) and _is_number(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"expected a label as an integer of at least 0, got {value!r}")


def merged(members: Members) -> dict[str, tuple[int, ...]]:
    """Merge labels with the same name into one class; classes do not share labels.

    Raises
    ------
    ValueError
        If a label has two names, two names differ only in upper and lower case, or the background has the name of a
        class.
    """
    names: dict[int, str] = {}
    for name, (number,) in members:
        if names.setdefault(number, name) != name:
            raise ValueError(f"label {number} has two names, {names[number]!r} and {name!r}")
    labels: dict[str, tuple[int, ...]] = {}
    for number, name in names.items():
        labels[name] = tuple(sorted((*labels.get(name, ()), number)))
    background = next((name for name, numbers in labels.items() if 0 in numbers and len(numbers) > 1), None)
    if background:
        raise ValueError(f"labels {list(labels[background])} are all called {background!r}, also the background 0")
    refuse_lookalikes(labels)
    return labels


def distinct(members: Members) -> dict[str, tuple[int, ...]]:
    """Return regions, which may share labels.

    Raises
    ------
    ValueError
        If two regions have the same name.
    """
    refuse_lookalikes([name for name, _ in members])
    return dict(members)


def refuse_lookalikes(names: Iterable[str]) -> None:
    """Raise ValueError if two names are equal, or differ only in upper and lower case.

    Raises
    ------
    ValueError
        The message shows both names.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.get(name.casefold())) is not None:
            raise ValueError(f"expected names that cannot be confused, got {other!r} and {name!r}; rename one")
        seen[name.casefold()] = name
