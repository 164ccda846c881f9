"""Convert fields of recipes to tuples and to Python's numbers, so that equal recipes have equal fingerprints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np


def convert_fields(recipe: Any, floats: Collection[str] = ()) -> None:
    """Convert the fields of a frozen dataclass in place; to be called first in its ``__post_init__``.

    Parameters
    ----------
    recipe : dataclass instance
        Lists become tuples, and numbers such as NumPy's become those of Python. Other values are kept.
    floats : collection of str
        Names of the fields with numbers of type float, which may be given as integers.
    """
    for one in fields(recipe):
        value = as_python(getattr(recipe, one.name))
        object.__setattr__(recipe, one.name, as_floats(value) if one.name in floats else value)


def as_python(value: object) -> Any:
    """Return nested lists as tuples, and numbers as Python's bool, int and float.

    Examples
    --------
    >>> as_python(["window", np.int64(-160), np.float32(0.5), None])
    ('window', -160, 0.5, None)
    """
    if isinstance(value, (list, tuple)):
        return tuple(map(as_python, value))
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def as_floats(value: Any) -> Any:
    """Return the numbers of nested tuples as floats, -0.0 as 0.0; other values, also bools, are kept.

    Examples
    --------
    >>> as_floats(("window", -160, 0.5))
    ('window', -160.0, 0.5)
    """
    if isinstance(value, tuple):
        return tuple(map(as_floats, value))
    return float(value) + 0.0 if isinstance(value, (int, float)) and not isinstance(value, bool) else value
