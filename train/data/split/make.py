"""Creation of splits: at random, from a table, or from a split file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dali_cr
from dali_cr.index.parts.names import describe_unknown
from dali_cr.index.volumes import Case

from ..subjects.names import find_subject, group_by_subject, short_name
from ..subjects.rules import default_subject
from ..tables import choose_columns, read_table
from .parts import PART_NAMES, PARTS, Part, Split


def make_split(
    cases: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
    subject: str | None = None,
    together: Iterable[Iterable[str]] = (),
) -> Split:
    """Split subjects at random.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    fractions : (train, val, test) float
        Fractions of the subjects, with a sum of 1.
    seed : int
    subject : str, optional
        Regular expression that finds the subject in a name; by default that of BIDS or nnU-Net if the names follow it.
    together : iterable of iterable of str
        Groups of names of cases whose subjects stay in one part, such as copies of one image.

    Returns
    -------
    Split
        Each part has at least one subject.

    Raises
    ------
    ValueError
        If there are fewer than three independent subjects, or the fractions are invalid.
    """
    rule = subject or default_subject(cases)
    subjects = sorted(group_by_subject(cases, rule))
    if len(subjects) < len(fractions):
        raise ValueError(
            f"split: expected at least {len(fractions)} subjects, got {len(subjects)} of {len(cases)} cases, the first "
            f"{', '.join(subjects[:1]) or 'missing'}; "
            + ("add cases" if len(cases) < len(fractions) else "give another regular expression as --subject")
        )
    # An index with names only: the library draws the parts.
    names = dali_cr.Index(Path(), tuple(Case(name, ()) for name in subjects))
    links = [[find_subject(case, rule) for case in group] for group in together]
    train, val, test = (frozenset(case.name for case in part.cases) for part in names.split(fractions, seed, links))
    return Split(train, val, test, rule)


def check_table(names: Collection[str], path: Path, column: str) -> None:
    """Check a table for `split_of_table` with names that cases may have.

    Raises
    ------
    ValueError
        If the table cannot be read or lacks the column, or no name has a row.
    """
    columns, rows = read_table(path)
    choose_columns(path, columns, (column,))
    short = set(map(short_name, rows))
    if names and not any(name in rows or short_name(name) in short for name in names):
        shown = describe_unknown([min(names)], rows)
        raise ValueError(f"table: expected a row for each case, none of {len(names)} has one in {path}: {shown}")


def split_of_table(cases: Sequence[str], path: Path, column: str, subject: str | None = None) -> Split:
    """Return the split given by a CSV file whose first column names the case.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    path : Path
    column : str
        Column with train, val or test.
    subject : str, optional
        Regular expression that finds the subject in a name.

    Raises
    ------
    ValueError
        If a case has no row, the column has another value, or a subject is in two parts.
    """
    columns, rows = read_table(path)
    choose_columns(path, columns, (column,))
    short = {short_name(name): row for name, row in rows.items()}
    parts: dict[Part, set[str]] = {part: set() for part in PARTS}
    for case in cases:
        row = rows.get(case) or short.get(short_name(case))
        if row is None:
            raise ValueError(f"table: expected a row for each case, {case} has none in {path}")
        if row[column].lower() not in PART_NAMES:
            raise ValueError(f"table: expected train, val or test as the {column} of {case}, got {row[column]!r}")
        parts[PART_NAMES[row[column].lower()]].add(find_subject(case, subject))
    return Split(frozenset(parts["train"]), frozenset(parts["val"]), frozenset(parts["test"]), subject)


def load_split(path: Path) -> Split:
    """Read a split file; those of version 0.1.0, with "pool" for "train", too.

    Raises
    ------
    ValueError
        If it is no split file.
    """
    if not path.is_file():
        raise ValueError(f"split: expected a file written by dali-cr splits, {path} does not exist")
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = ("pool" if "pool" in content and "train" not in content else "train", "val", "test")
        parts = [content[name] for name in names]
        if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in parts):
            raise ValueError("expected each part as a list of names")
        train, val, test = map(frozenset, parts)
        return Split(train, val, test, content.get("subject"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"split: expected JSON with train, val and test, got {path}: {reason}") from error
