"""Which subjects are for learning, for choosing and for testing: one file that every command reads.

The file may be written by hand; it is JSON::

    {"subject": null, "pool": ["patient_01", "patient_02"], "val": ["patient_03"], "test": ["patient_04"]}

A subject is known by the name of its case: by what the regular expression ``subject`` finds in it (its first group, if
it has one), or without one by the last part of the name, less its suffixes. **Where one patient has several scans, a
subject is wanted that tells the patient**: with scans as subjects, a patient may be trained and tested on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import dali_cr
from dali_cr.index.cases import Case

from .tables import choose_columns, read_table

Part = Literal["pool", "val", "test"]
PARTS: tuple[Part, ...] = ("pool", "val", "test")

_SUFFIX = re.compile(r"\.(nii|hdr|img|png|jpe?g)(\.gz)?(?=#|$)", re.IGNORECASE)
_CALLED: dict[str, Part] = {"pool": "pool", "train": "pool", "training": "pool", "val": "val", "validation": "val"}
_CALLED["test"] = "test"
"""What a table calls a part."""


def short_name(case: str) -> str:
    """Return the last part of a case's name without its suffixes.

    Examples
    --------
    >>> short_name("images/patient_01.nii.gz"), short_name("a/perfusion.nii#3")
    ('patient_01', 'perfusion#3')
    """
    return _SUFFIX.sub("", PurePosixPath(case).name)


@dataclass(frozen=True)
class Split:
    """Subjects in three parts that share none.

    Raises
    ------
    ValueError
        If a subject is in two parts, or the regular expression is none.
    """

    pool: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]
    subject: str | None = None
    """A regular expression that finds the subject in a case's name."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.subject or "")
        except re.error as error:
            raise ValueError(f"subject: wanted a regular expression, got {self.subject!r}: {error}") from error
        for one, other in (("pool", "val"), ("pool", "test"), ("val", "test")):
            if shared := getattr(self, one) & getattr(self, other):
                raise ValueError(f"split: wanted each subject in one part, {min(shared)} is in {one} and in {other}")

    @property
    def hash(self) -> str:
        """SHA-256 of the content, whatever the order and the layout of its file."""
        return hashlib.sha256(json.dumps(self.content()).encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {"subject": self.subject, **{part: sorted(getattr(self, part)) for part in PARTS}}

    def subject_of(self, case: str) -> str:
        """Return the subject of a case.

        Raises
        ------
        ValueError
            If the regular expression finds none in its name.
        """
        return find_subject(case, self.subject)

    def part_of(self, case: str) -> Part | None:
        """Return the part that a case is in, None for no part."""
        subject = self.subject_of(case)
        return next((part for part in PARTS if subject in getattr(self, part)), None)

    def take(self, index: dali_cr.Index, part: Part) -> dali_cr.Index:
        """Return the cases of one part.

        Raises
        ------
        ValueError
            If there are none.
        """
        group_by_subject([case.name for case in index.cases], self.subject)
        cases = tuple(case for case in index.cases if self.part_of(case.name) == part)
        if not cases:
            there = f"{len(index)} cases came, the first is {index.cases[0].name}" if index.cases else "no case came"
            wanted = ", ".join(sorted(getattr(self, part))[:3]) or "none at all"
            raise ValueError(f"split: wanted cases of the part {part} ({wanted} …), {there}")
        return replace(index, cases=cases, problems=(), set_aside=())

    def refuse_leak(self, seen: Sequence[Case], index: dali_cr.Index, init: Path) -> None:
        """Refuse weights that were trained on cases to choose by or to test on, by subject or by content.

        Parameters
        ----------
        seen : sequence of Case
            What the weights were trained on.
        index : Index
            The data at hand.
        init : Path
            Where the weights are from.

        Raises
        ------
        ValueError
            Naming the first such case.
        """
        kept_back: dict[str, tuple[str, Part]] = {}
        for case in index.cases:
            part = self.part_of(case.name)
            if part in ("val", "test"):
                kept_back.update({volume.sha256: (case.name, part) for volume in case.volumes})
        for case in seen:
            found = [kept_back[volume.sha256] for volume in case.volumes if volume.sha256 in kept_back]
            named = self._part_of_stranger(case.name)
            if found or named in ("val", "test"):
                name, part = found[0] if found else (case.name, named)
                what, advice = name, "Pre-train with --split FILE --part pool, and fine-tune with the same file"
                if found and self._part_of_stranger(case.name) == "pool":
                    what = f"{case.name}, the same as {name}"
                    advice = f"--exclude {name} when fine-tuning: the split has copies of one image in two parts"
                raise ValueError(
                    f"init: wanted weights that have seen no case of val or test; {init} was trained on {what}, "
                    f"which is in {part}. {advice}"
                )

    def _part_of_stranger(self, case: str) -> Part | None:
        """Return the part of a case of other data, whose names may be of another kind."""
        try:
            return self.part_of(case)
        except ValueError:
            return None


def find_subject(case: str, subject: str | None) -> str:
    """Return the subject in a case's name."""
    if subject is None:
        return short_name(case)
    found = re.search(subject, case)
    if not found:
        raise ValueError(f"subject: wanted a regular expression that finds the subject in {case}, got {subject!r}")
    return str(found[1] if found.groups() else found[0])


def group_by_subject(cases: Sequence[str], subject: str | None) -> dict[str, list[str]]:
    """Return the cases of each subject.

    Raises
    ------
    ValueError
        If two cases have the same short name, and nothing says whether they are of one subject.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find_subject(case, subject), []).append(case)
    if subject is None:
        for name, members in groups.items():
            if len(members) > 1:
                raise ValueError(
                    f"split: wanted cases with names of their own, {members[0]} and {members[1]} are both {name}; "
                    r"--subject with a regular expression, for example 'sub-(\w+)', says what tells subjects apart"
                )
    return groups


def make_split(
    cases: Sequence[str], fractions: tuple[float, float, float], seed: int, subject: str | None = None
) -> Split:
    """Split subjects at random.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    fractions : (pool, val, test) float
        Of the subjects, with a sum of 1.
    seed : int
    subject : str, optional
        A regular expression that finds the subject in a name.

    Returns
    -------
    Split
        Its parts have at least one subject each.

    Raises
    ------
    ValueError
        If there are fewer than three subjects, or the fractions are no such numbers.
    """
    subjects = sorted(group_by_subject(cases, subject))
    # An index of nothing but names: the rule by which cases are drawn is the library's.
    names = dali_cr.Index(Path(), tuple(Case(name, ()) for name in subjects))
    pool, val, test = (frozenset(case.name for case in part.cases) for part in names.split(fractions, seed))
    return Split(pool, val, test, subject)


def split_of_table(cases: Sequence[str], path: Path, column: str, subject: str | None = None) -> Split:
    """Return the split that a CSV file gives, whose first column names the case.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.
    path : Path
    column : str
        Which says train (or pool), val or test.
    subject : str, optional
        A regular expression that finds the subject in a name.

    Raises
    ------
    ValueError
        If a case has no row, the column says something else, or a subject is in two parts.
    """
    columns, rows = read_table(path)
    choose_columns(path, columns, (column,))
    short = {short_name(name): row for name, row in rows.items()}
    parts: dict[Part, set[str]] = {part: set() for part in PARTS}
    for case in cases:
        row = rows.get(case) or short.get(short_name(case))
        if row is None:
            raise ValueError(f"table: wanted a row for each case, {case} has none in {path}")
        if row[column].lower() not in _CALLED:
            raise ValueError(f"table: wanted train, val or test as the {column} of {case}, got {row[column]!r}")
        parts[_CALLED[row[column].lower()]].add(find_subject(case, subject))
    return Split(frozenset(parts["pool"]), frozenset(parts["val"]), frozenset(parts["test"]), subject)


def load_split(path: Path) -> Split:
    """Read a split's file.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not path.is_file():
        raise ValueError(f"split: wanted a file that python -m train.splits wrote, {path} is not there")
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts = [content[part] for part in PARTS]
        if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in parts):
            raise ValueError("each part is wanted as a list of names")
        pool, val, test = map(frozenset, parts)
        return Split(pool, val, test, content.get("subject"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"split: wanted JSON with pool, val and test, got {path}: {reason}") from error
