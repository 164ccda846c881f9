"""Splits of subjects into train, val and test, stored in one JSON file that every command reads.

The file may be written by hand::

    {"subject": null, "train": ["patient_01", "patient_02"], "val": ["patient_03"], "test": ["patient_04"]}

The subject of a case is found in its name: by the regular expression ``subject`` (its first group, if it has one), or
without one as the last part of the name without suffixes. For names that follow BIDS or nnU-Net (``sub-01_ses-1_T1w``,
``case_0000``), `dali-cr splits` writes the expression itself. **If one patient has several scans under other names,
give --subject**: otherwise each scan is a subject, and a patient may be in both train and test. Copies of an image,
under any name and in any format, are always in one part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import dali_cr
from dali_cr.index.volumes import Case

from ..subjects.names import check_subject, composed, find_subject, group_by_subject

Part = Literal["train", "val", "test"]

PARTS: tuple[Part, ...] = ("train", "val", "test")

PartOption = Literal["train", "val", "test", "pool"]
"""A part on a command line or in a config.json; version 0.1.0 called train pool."""

PART_NAMES: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "pool"), "train"),
    **dict.fromkeys(("val", "validation"), "val"),
    "test": "test",
}
"""Accepted names of the parts."""


def current_part(part: str) -> Part:
    """Return the current name of a part."""
    return PART_NAMES[part]


@dataclass(frozen=True)
class Split:
    """Subjects in three disjoint parts.

    Raises
    ------
    ValueError
        If a subject is in two parts, or the regular expression is invalid.
    """

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]
    subject: str | None = None
    """Regular expression that finds the subject in a case's name."""

    def __post_init__(self) -> None:
        check_subject(self.subject or "")
        for part in PARTS:
            object.__setattr__(self, part, frozenset(map(composed, getattr(self, part))))
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := getattr(self, one) & getattr(self, other):
                raise ValueError(f"split: expected each subject in one part, {min(shared)} is in {one} and in {other}")

    @property
    def hash(self) -> str:
        """SHA-256 of the content, independent of the order and layout of the file."""
        # Over the key of version 0.1.0, so that its runs can be resumed.
        content = {"pool" if name == "train" else name: value for name, value in self.content().items()}
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """Return the content of the file."""
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
        """Return the part of a case, None if it is in no part."""
        subject = self.subject_of(case)
        return next((part for part in PARTS if subject in getattr(self, part)), None)

    def take(self, index: dali_cr.Index, part: Part) -> dali_cr.Index:
        """Return the index of the cases of one part.

        Raises
        ------
        ValueError
            If there are none, or two parts contain the same image.
        """
        group_by_subject([case.name for case in index.cases], self.subject)
        self.check_together(index.copies, "hold the same image")
        self.check_part(part, [case.name for case in index.cases])
        cases = tuple(case for case in index.cases if self.part_of(case.name) == part)
        return replace(index, cases=cases, problems=(), set_aside=())

    def check_part(self, part: Part, names: Collection[str]) -> None:
        """Raise ValueError unless a name of a case is in a part.

        Parameters
        ----------
        part : str
        names : collection of str
            Names of cases; other names are ignored.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not any(self._part_of_stranger(name) == part for name in names):
            got = f"{len(names)} other cases, the first is {min(names)}" if names else "no cases"
            wanted = ", ".join(sorted(getattr(self, part))[:3]) or "which is empty"
            raise ValueError(f"split: expected cases of the part {part} ({wanted} …), got {got}")

    def check_together(self, groups: Iterable[Collection[str]], why: str) -> None:
        """Check that cases that belong together are in one part.

        Parameters
        ----------
        groups : iterable of collection of str
            Groups of names of cases that belong together.
        why : str
            What the cases of a group have in common, as a verb phrase for the message.

        Raises
        ------
        ValueError
            Naming the first two cases in different parts.
        """
        for group in groups:
            parts: dict[Part, str] = {}
            for case in group:
                if part := self.part_of(case):
                    parts.setdefault(part, case)
            if len(parts) > 1:
                (one, first), (other, second) = list(parts.items())[:2]
                raise ValueError(
                    f"split: expected cases that {why} in one part, {first} is in {one} and {second} in {other}; make "
                    "a new split, or exclude one of them with --exclude"
                )

    def check_leak(self, seen: Sequence[Case], index: dali_cr.Index, init: Path) -> None:
        """Check that weights were not trained on cases of val or test, by subject and by content.

        Parameters
        ----------
        seen : sequence of Case
            The cases that the weights were trained on.
        index : Index
            The data of this run.
        init : Path
            The folder of the weights.

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
                what, advice = name, "Pre-train with --split FILE --part train, and fine-tune with the same file"
                if not found:
                    advice += "; other patients of the same names must be renamed"
                if found and self._part_of_stranger(case.name) == "train":
                    what = f"{case.name}, the same as {name}"
                    advice = f"Give --exclude {name} in fine-tuning: the split has copies of one image in two parts"
                raise ValueError(
                    f"init: expected weights that were not trained on cases of val or test, {init} was trained on "
                    f"{what}, which is in {part}. {advice}"
                )

    def _part_of_stranger(self, case: str) -> Part | None:
        """Return the part of a case of other data, or a file that may be no case, whose name may have no subject."""
        try:
            return self.part_of(case)
        except ValueError:
            return None
