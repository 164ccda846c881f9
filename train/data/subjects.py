"""Whose image a case is, as its name tells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from dali_cr.index.grouping import MAX_CHANNELS

_KINDS = "nii|hdr|img|png|jpe?g|ozx"
_SUFFIX = re.compile(rf"(\.({_KINDS})(\.gz)?)+(?=#|$)", re.IGNORECASE)
_TAIL = rf"(?i:\.(?:{_KINDS})(?:\.gz)?)?(?:#\d+)?$"
"""What follows a case's short name, less its frame."""

BIDS = r"(?<![^/])sub-[A-Za-z0-9]+"
"""Finds the subject in a name of the Brain Imaging Data Structure."""

NNUNET = rf"[^/]+?(?=(?:_\d{{4}})?{_TAIL})"
"""Finds the case in a name of nnU-Net's, with the number of a channel (case_0000) or without."""

BRATS = r"(?<![^/])BraTS-[A-Za-z0-9]+-\d+(?=-\d{3})"
"""Finds the patient in a name of BraTS 2023 and later, which ends in the number of the time point."""

_NAME = rf"[^/]+?(?={_TAIL})"

_NUMBERED = re.compile(r"(.+)_(\d{4})")

_SESSION = (
    r"#\d+"  # a frame
    r"|(?:ses|acq|ce|rec|dir|run|echo|task|space|res|desc|part|chunk)-[a-z0-9]+"  # BIDS
    r"|(?:session|ses|visit|timepoint|tp|run|day|week|month)[-_]?\d+|[tvm]\d{1,3}|baseline|bl|follow-?up\d*|fu\d*|pre|post"
    r"|(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"  # a date
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # a date
)
_CHANNEL = (
    r"(?:t1|t2)(?:w|n|c|ce|gd|km|f)?|flair|pdw?|dwi|adc|swi|tof|bold|epi|mra?|mri|(?:cb)?ct|cta|pet|suv|us"
    r"|anat|func|perf|fmap"  # the folders of BIDS
)
_ENDING = re.compile(rf"(?:(?:^|[_\-.])(?:{_SESSION}|{_CHANNEL})|#\d+)$", re.IGNORECASE)
_PART = re.compile(r"(?:images?|labels?)?(?:tr|ts|train(?:ing)?|val(?:idation)?|test(?:ing)?)?", re.IGNORECASE)
"""A folder's name that tells the part, not the patient."""


def short_name(case: str) -> str:
    """Return the last part of a case's name without its suffixes, in Unicode's composed form (NFC).

    Examples
    --------
    >>> short_name("images/patient_01.nii.gz"), short_name("a/perfusion.nii#3")
    ('patient_01', 'perfusion#3')
    """
    return composed(_SUFFIX.sub("", PurePosixPath(case).name))


def composed(name: str) -> str:
    """Return a name in the one form in which names are compared: macOS writes an umlaut as two characters."""
    return unicodedata.normalize("NFC", name)


def find_subject(case: str, subject: str | None) -> str:
    """Return the subject in a case's name.

    Raises
    ------
    ValueError
        If the regular expression finds none.
    """
    if subject is None:
        return short_name(case)
    found = check_subject(subject).search(composed(case))
    if not found or (found.groups() and found[1] is None):
        raise ValueError(f"subject: expected a regular expression that finds the subject in {case}, got {subject!r}")
    return composed(str(found[1] if found.groups() else found[0]))


def check_subject(subject: str) -> re.Pattern[str]:
    """Return a subject's regular expression, compiled.

    Raises
    ------
    ValueError
        If it is none.
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
        If two cases have the same short name, and nothing tells whether they are of one subject.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find_subject(case, subject), []).append(case)
    if subject is None:
        for name, members in groups.items():
            if len(members) > 1:
                raise ValueError(
                    f"split: expected cases with names of their own, {members[0]} and {members[1]} are both {name}; "
                    r"--subject with a regular expression, for example 'sub-(\w+)', says what tells subjects apart"
                )
    return groups


def default_subject(cases: Sequence[str]) -> str | None:
    """Return the regular expression that finds the subject in names as BIDS, nnU-Net and BraTS prescribe them.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.

    Returns
    -------
    subject : str or None
        None where names follow neither: each case is a subject of its own then.

    Examples
    --------
    >>> default_subject(["sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"]) == BIDS
    True
    >>> default_subject(["MS_001_0000.nii.gz", "MS_001_0001.nii.gz", "MS_002_0000.nii.gz"]) == NNUNET
    True
    >>> default_subject(["patient_0001.nii.gz", "patient_0002.nii.gz"])
    """
    if cases and all(re.search(BRATS, case) for case in cases):
        return BRATS
    others = [case for case in cases if not re.search(BIDS, case)]
    if not others:
        return BIDS if cases else None
    rule = NNUNET if _channels(others) else None
    return rule if len(others) == len(cases) else f"{BIDS}|{rule or _NAME}"


def subjects_of(cases: Sequence[str], subject: str | None = None) -> dict[str, list[str]]:
    """Return the cases of each subject, by the regular expression or by the rule for names of their kind.

    Without either, each case is a subject of its own, under its whole name.
    """
    rule = subject or default_subject(cases)
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find_subject(case, rule) if rule else case, []).append(case)
    return groups


def count_subjects(cases: Sequence[str], subject: str | None = None) -> str:
    """Return "N subjects, M cases" of names of cases.

    Examples
    --------
    >>> count_subjects(["sub-01_ses-1", "sub-01_ses-2"]), count_subjects(["a", "b"])
    ('1 subject, 2 cases', '2 subjects, 2 cases')
    """
    subjects = len(subjects_of(cases, subject))
    return f"{subjects} subject{'s' * (subjects != 1)}, {len(cases)} case{'s' * (len(cases) != 1)}"


def find_lookalikes(parts: Mapping[str, str]) -> str:
    """Return a warning that names of two parts differ only by a session, a channel or a frame; empty if none do.

    Parameters
    ----------
    parts : mapping of str to str
        From the name of a case or a subject to its part.

    Examples
    --------
    >>> find_lookalikes({"p1_visit1": "train", "p1_visit2": "test", "p2_visit1": "train"})[:58]
    'p1_visit1 (train) and p1_visit2 (test) differ only by a se'
    >>> find_lookalikes({"p1": "train", "p2": "test"})
    ''
    """
    numbered = _channels(parts)
    by_stem: dict[str, dict[str, str]] = {}
    for name, part in sorted(parts.items()):
        by_stem.setdefault(_stem(name, numbered), {}).setdefault(part, name)
    mixed = [found for found in by_stem.values() if len(found) > 1]
    if not mixed:
        return ""
    (one, first), (other, second) = list(mixed[0].items())[:2]
    more = f", and so do {len(mixed) - 1} more" if len(mixed) > 1 else ""
    return (
        f"{first} ({one}) and {second} ({other}) differ only by a session, a channel or a frame{more}: if they are of "
        "one patient, a split with --subject REGEX keeps them in one part"
    )


def _channels(names: Iterable[str]) -> set[str]:
    """Return the cases of names that end in the number of a channel; none where such numbers are those of cases.

    Channels count from 0000, in most cases, and there are few; a single name before all numbers is a data set's.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        if numbered := _NUMBERED.fullmatch(re.sub(r"#\d+$", "", short_name(name))):
            found.setdefault(numbered[1], set()).add(int(numbered[2]))
    complete = sum(0 in numbers for numbers in found.values())
    few = all(max(numbers) < MAX_CHANNELS for numbers in found.values())
    return set(found) if len(found) > 1 and few and 2 * complete >= len(found) else set()


def _stem(name: str, numbered: set[str]) -> str:
    """Return a name without what tells a session, a channel, a frame or a part."""
    kept = []
    *folders, last = _SUFFIX.sub("", name).split("/")
    if (found := _NUMBERED.fullmatch(last)) and found[1] in numbered:
        last = found[1]
    for piece in [*(folder for folder in folders if not _PART.fullmatch(folder)), last]:
        before = None
        while piece != before:
            before, piece = piece, _ENDING.sub("", piece)
        kept += [piece] * bool(piece)
    return "/".join(kept) or name
