"""Hash a recipe, with the same result in later releases that add fields, and match hashes of earlier releases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import chain, islice, product
from typing import Any

SINCE = "since"
"""Key of a field's metadata: the release that added the field, for fields that the first release lacks."""

_MOST, _MOST_OF_A_FIELD = 1 << 14, 64
"""Most fingerprints of earlier releases that are tried for mixed numbers, and of one field."""


def fingerprint(recipe: Any) -> str:
    """Return the SHA-256 of a recipe's class name and fields.

    A field that a later release added, ``field(default=..., metadata={"since": "0.2.0"})``, is not hashed while it has
    its default, also in nested dataclasses. Recipes that do not use it keep their fingerprint, so that older
    checkpoints can be resumed. The default must stand for the behaviour before the field existed.

    Parameters
    ----------
    recipe : dataclass instance

    Returns
    -------
    fingerprint : str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        If a field that was added later has no default.
    """
    return _hash(json.dumps([type(recipe).__name__, _content(recipe)]))


def matches(recipe: Any, known: Any) -> bool:
    """Whether a fingerprint is that of a recipe, also as releases up to 0.2.0 wrote it.

    They hashed whole numbers of float fields as given: 1 and 1.0 were different.

    Parameters
    ----------
    recipe : Recipe
    known : Any
        The fingerprint; anything else does not match.
    """
    return known == recipe.fingerprint or (is_dataclass(recipe) and known in _earlier_fingerprints(recipe))


def _earlier_fingerprints(recipe: Any) -> Iterator[str]:
    """Yield fingerprints with whole numbers of float fields hashed as integers: all of a field, then any of them."""
    content = _content(recipe)
    by_field = [dict.fromkeys(_texts(name, [value, _integers(value)])) for name, value in content.items()]
    by_number = [_texts(name, islice(_as_given(value), _MOST_OF_A_FIELD)) for name, value in content.items()]
    for texts in chain(product(*by_field), islice(product(*by_number), _MOST)):
        yield _hash(f'["{type(recipe).__name__}", {{{", ".join(texts)}}}]')


def _texts(name: str, values: Iterable[Any]) -> list[str]:
    """Return an entry of a JSON object for each value."""
    return [f'"{name}": {json.dumps(value)}' for value in values]


def _as_given(value: Any) -> Iterator[Any]:
    """Yield JSON values for each choice of whole floats that become integers."""
    if isinstance(value, dict):
        yield from (dict(zip(value, chosen, strict=True)) for chosen in product(*map(_as_given, value.values())))
    elif isinstance(value, list):
        yield from map(list, product(*map(_as_given, value)))
    else:
        yield value
        if isinstance(value, float) and value.is_integer():
            yield int(value)


def _integers(value: Any) -> Any:
    """Return JSON values with whole numbers as integers."""
    if isinstance(value, dict):
        return {name: _integers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_integers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _content(value: Any) -> Any:
    """Return a value as JSON values; for a dataclass, only the hashed fields."""
    if is_dataclass(value):
        own = [(one, getattr(value, one.name)) for one in fields(value)]
        return {one.name: _content(now) for one, now in own if SINCE not in one.metadata or now != _default(one)}
    if isinstance(value, Mapping):
        return {name: _content(value[name]) for name in sorted(value)}
    return [_content(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _default(one: Field[Any]) -> Any:
    """Return a field's default."""
    if one.default is not MISSING:
        return one.default
    if one.default_factory is not MISSING:
        return one.default_factory()
    raise TypeError(
        f"{one.name}: expected a default for a field added in {one.metadata[SINCE]}, got none; set the one for the "
        "behaviour before"
    )
