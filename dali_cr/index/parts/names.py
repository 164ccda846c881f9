"""Describe names that are not names of cases."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_SHOWN = 3
"""Number of names in a message, and of similar names for each."""


def describe_unknown(names: Collection[str], known: Collection[str]) -> str:
    """Return unknown names for an error message, with the known names that are most similar.

    Parameters
    ----------
    names : collection of str
        Unknown names.
    known : collection of str
        Names of cases.

    Examples
    --------
    >>> describe_unknown(["case_1", "x"], ["case_01", "case_02"])
    "'case_1' (similar: 'case_01', 'case_02'), 'x'"
    >>> describe_unknown("abcde", ["z"])
    "'a', 'b', 'c' and 2 more"
    """
    shown = []
    for name in sorted(names)[:_SHOWN]:
        similar = ", ".join(map(repr, get_close_matches(name, known, _SHOWN)))
        shown.append(f"{name!r} (similar: {similar})" if similar else repr(name))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"
