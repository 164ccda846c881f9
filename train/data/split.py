"""Which subjects are for learning, for choosing and for testing: one file that every command reads.

The file may be written by hand; it is JSON::

    {"subject": null, "pool": ["patient_01", "patient_02"], "val": ["patient_03"], "test": ["patient_04"]}

A subject is known by the name of its case: by what the regular expression ``subject`` finds in it (its first group, if
it has one), or without one by the last part of the name, less its suffixes. For names as BIDS and nnU-Net prescribe
them (``sub-01_ses-1_T1w``, ``case_0000``), the command writes the expression that finds the subject. **Where one
patient has several scans under other names, --subject is wanted**: with scans as subjects, a patient may be trained and
tested on. Copies of an image, under whatever name and in whatever format, are always in one part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import dali_cr
from dali_cr.index.volumes import Case

from .subjects import check_subject, composed, default_subject, find_subject, group_by_subject, short_name
from .tables import choose_columns, read_table

Part = Literal["pool", "val", "test"]
PARTS: tuple[Part, ...] = ("pool", "val", "test")

_CALLED: dict[str, Part] = {"pool": "pool", "train": "pool", "training": "pool", "val": "val", "validation": "val"}
_CALLED["test"] = "test"
"""What a table calls a part."""


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
        check_subject(self.subject or "")
        for part in PARTS:
            object.__setattr__(self, part, frozenset(map(composed, getattr(self, part))))
        for one, other in (("pool", "val"), ("pool", "test"), ("val", "test")):
            if shared := getattr(self, one) & getattr(self, other):
                raise ValueError(f"split: expected each subject in one part, {min(shared)} is in {one} and in {other}")

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
            If there are none, or the same image is in two parts.
        """
        group_by_subject([case.name for case in index.cases], self.subject)
        self.refuse_shared(index.copies, "hold the same image")
        cases = tuple(case for case in index.cases if self.part_of(case.name) == part)
        if not cases:
            there = f"{len(index)} cases came, the first is {index.cases[0].name}" if index.cases else "no case came"
            wanted = ", ".join(sorted(getattr(self, part))[:3]) or "none at all"
            raise ValueError(f"split: expected cases of the part {part} ({wanted} …), {there}")
        return replace(index, cases=cases, problems=(), set_aside=())

    def refuse_shared(self, groups: Iterable[Collection[str]], why: str) -> None:
        """Refuse to have cases that belong together in two parts.

        Parameters
        ----------
        groups : iterable of collection of str
            Names of cases that belong together.
        why : str
            What such cases do.

        Raises
        ------
        ValueError
            Naming the first two.
        """
        for group in groups:
            parts: dict[Part, str] = {}
            for case in group:
                if part := self.part_of(case):
                    parts.setdefault(part, case)
            if len(parts) > 1:
                (one, first), (other, second) = list(parts.items())[:2]
                raise ValueError(
                    f"split: expected cases that {why} in one part, {first} is in {one}, {second} in {other}. Make "
                    f"the split anew, or leave one of them out with --exclude"
                )

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
                kept_back.update({key: (case.name, part) for volume in case.volumes for key in volume.identities})
        for case in seen:
            found = [kept_back[key] for volume in case.volumes for key in volume.identities if key in kept_back]
            named = self._part_of_stranger(case.name)
            if found or named in ("val", "test"):
                name, part = found[0] if found else (case.name, named)
                what, advice = name, "Pre-train with --split FILE --part pool, and fine-tune with the same file"
                if not found:
                    advice += "; other patients of the same names must be renamed"
                if found and self._part_of_stranger(case.name) == "pool":
                    what = f"{case.name}, the same as {name}"
                    advice = f"--exclude {name} when fine-tuning: the split has copies of one image in two parts"
                raise ValueError(
                    f"init: expected weights that have seen no case of val or test; {init} was trained on {what}, "
                    f"which is in {part}. {advice}"
                )

    def _part_of_stranger(self, case: str) -> Part | None:
        """Return the part of a case of other data, whose names may be of another kind."""
        try:
            return self.part_of(case)
        except ValueError:
            return None


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
    fractions : (pool, val, test) float
        Of the subjects, with a sum of 1.
    seed : int
    subject : str, optional
        A regular expression that finds the subject in a name; by default the one for names as BIDS and nnU-Net
        prescribe them, for others none.
    together : iterable of iterable of str
        Names of cases whose subjects stay in one part, such as copies of one image.

    Returns
    -------
    Split
        Its parts have at least one subject each.

    Raises
    ------
    ValueError
        If there are fewer than three subjects that need not stay together, or the fractions are no such numbers.
    """
    rule = subject or default_subject(cases)
    subjects = sorted(group_by_subject(cases, rule))
    if len(subjects) < len(fractions):
        raise ValueError(
            f"split: expected at least {len(fractions)} subjects, got {len(subjects)} of {len(cases)} cases, the first "
            f"{', '.join(subjects[:1]) or 'missing'}; --subject with a regular expression tells others apart"
        )
    # An index of nothing but names: the rule by which cases are drawn is the library's.
    names = dali_cr.Index(Path(), tuple(Case(name, ()) for name in subjects))
    links = [[find_subject(case, rule) for case in group] for group in together]
    pool, val, test = (frozenset(case.name for case in part.cases) for part in names.split(fractions, seed, links))
    return Split(pool, val, test, rule)


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
            raise ValueError(f"table: expected a row for each case, {case} has none in {path}")
        if row[column].lower() not in _CALLED:
            raise ValueError(f"table: expected train, val or test as the {column} of {case}, got {row[column]!r}")
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
        raise ValueError(f"split: expected a file that dali-cr splits wrote, {path} is not there")
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts = [content[part] for part in PARTS]
        if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in parts):
            raise ValueError("each part is wanted as a list of names")
        pool, val, test = map(frozenset, parts)
        return Split(pool, val, test, content.get("subject"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"split: expected JSON with pool, val and test, got {path}: {reason}") from error
