"""The subject of a case, found in its name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

_KINDS = "nii|hdr|img|png|jpe?g|ozx"

SUFFIX = re.compile(rf"(\.({_KINDS})(\.gz)?)+(?=#|$)", re.IGNORECASE)

TAIL = rf"(?i:\.(?:{_KINDS})(?:\.gz)?)?(?:#\d+)?$"
"""The suffixes and the frame after a case's short name."""


def short_name(case: str) -> str:
    """Return the last path component of a case's name without suffixes, in Unicode NFC form.

    Examples
    --------
    >>> short_name("images/patient_01.nii.gz"), short_name("a/perfusion.nii#3")
    ('patient_01', 'perfusion#3')
    """
    return composed(SUFFIX.sub("", PurePosixPath(case).name))


def composed(name: str) -> str:
    """Return a name in Unicode NFC form, since macOS stores umlauts as two characters."""
    return unicodedata.normalize("NFC", name)


def find_subject(case: str, subject: str | None) -> str:
    """Return the subject of a case, found in its name.

    Raises
    ------
    ValueError
        If the regular expression does not match.
    """
    if subject is None:
        return short_name(case)
    found = check_subject(subject).search(composed(case))
    if not found or (found.groups() and found[1] is None):
        raise ValueError(f"subject: expected a regular expression that matches {case}, got {subject!r}")
    return composed(str(found[1] if found.groups() else found[0]))


def check_subject(subject: str) -> re.Pattern[str]:
    """Compile a regular expression for subjects.

    Raises
    ------
    ValueError
        If it is invalid.
    """
    try:
        return re.compile(subject)
    except re.error as error:
        raise ValueError(f"subject: expected a regular expression, got {subject!r}: {error}") from error


def group_by_subject(cases: Sequence[str], subject: str | None) -> dict[str, list[str]]:
    """Return the cases of each subject.

    Raises
    ------
    ValueError
        If there is no regular expression and two cases have the same short name.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find_subject(case, subject), []).append(case)
    if subject is None:
        for name, members in groups.items():
            if len(members) > 1:
                raise ValueError(
                    f"split: expected cases with different names, {members[0]} and {members[1]} are both {name}; make "
                    r"the split with dali-cr splits and --subject REGEX, which finds the subject, for example "
                    r"'sub-(\w+)', or for the data sets of a corpus file with dali-cr splits --corpus FILE"
                )
    return groups
