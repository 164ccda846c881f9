"""The hash of a recipe: the same from release to release, though recipes get new fields."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

SINCE = "since"
"""Key of a field's metadata: the release that added it, for fields that the first release did not have."""


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
    """Return a value as JSON values; of a dataclass, the fields that are hashed."""
    if is_dataclass(value):
        own = [(one, getattr(value, one.name)) for one in fields(value)]
        return {one.name: _content(now) for one, now in own if SINCE not in one.metadata or now != _default(one)}
    return [_content(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _default(one: Field[Any]) -> Any:
    """Return a field's default."""
    if one.default is not MISSING:
        return one.default
    if one.default_factory is not MISSING:
        return one.default_factory()
    raise TypeError(
        f"{one.name}: expected a default of a field added in {one.metadata[SINCE]}, got none; give the one that means "
        "what was done before"
    )
