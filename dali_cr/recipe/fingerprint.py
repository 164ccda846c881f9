"""Hash a recipe, with the same result in later releases that add fields, and match hashes of earlier releases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import product
from typing import Any

SINCE = "since"
"""Key of a field's metadata: the release that added the field, for fields that the first release lacks."""


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
    return _hash(recipe, _content(recipe))


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
    """Yield the fingerprint for each choice of float fields whose whole numbers are hashed as integers."""
    content = _content(recipe)
    as_integers = {name: _integers(value) for name, value in content.items()}
    whole = [name for name, value in as_integers.items() if json.dumps(value) != json.dumps(content[name])]
    for chosen in product((False, True), repeat=len(whole)):
        given = {name: as_integers[name] for name, one in zip(whole, chosen, strict=True) if one}
        yield _hash(recipe, content | given)


def _integers(value: Any) -> Any:
    """Return JSON values with whole numbers as integers."""
    if isinstance(value, dict):
        return {name: _integers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_integers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hash(recipe: Any, content: Any) -> str:
    return hashlib.sha256(json.dumps([type(recipe).__name__, content]).encode()).hexdigest()


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
