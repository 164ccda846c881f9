"""Hash a recipe, with the same result in later releases that add fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
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
    return hashlib.sha256(json.dumps([type(recipe).__name__, _content(recipe)]).encode()).hexdigest()


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
