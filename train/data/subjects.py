"""Subjects of cases, found in the cases' names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from dali_cr.index.grouping import MAX_CHANNELS

_KINDS = "nii|hdr|img|png|jpe?g|ozx"
_SUFFIX = re.compile(rf"(\.({_KINDS})(\.gz)?)+(?=#|$)", re.IGNORECASE)
_TAIL = rf"(?i:\.(?:{_KINDS})(?:\.gz)?)?(?:#\d+)?$"
"""The suffixes and the frame after a case's short name."""

BIDS = r"(?<![^/])sub-[A-Za-z0-9]+"
"""Finds the subject in BIDS names."""

NNUNET = rf"[^/]+?(?=(?:_\d{{4}})?{_TAIL})"
"""Finds the case in nnU-Net names, with a channel number (case_0000) or without."""

LISTED = r"^.+(?=/[^/]+/[^/]+$)"
"""Finds data set and subject in names of nnssl's list: data set, subject, session, image."""

BRATS = r"(?<![^/])BraTS-[A-Za-z0-9]+-\d+(?=-\d{3})"
"""Finds the patient in names of BraTS 2023 and later, which end in the number of the time point."""

WHOLE = rf"^.+?(?={_TAIL})"
"""Finds a case's whole name, without suffixes."""

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
"""Folder names that denote a part of the data, not a patient."""


def short_name(case: str) -> str:
    """Return the last path component of a case's name without suffixes, in Unicode NFC form.

    Examples
    --------
    >>> short_name("images/patient_01.nii.gz"), short_name("a/perfusion.nii#3")
    ('patient_01', 'perfusion#3')
    """
    return composed(_SUFFIX.sub("", PurePosixPath(case).name))


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


def default_subject(cases: Sequence[str]) -> str | None:
    """Return the regular expression that finds the subject in names that follow BIDS, nnU-Net or BraTS.

    Parameters
    ----------
    cases : sequence of str
        Names of cases.

    Returns
    -------
    subject : str or None
        None if names follow none of them: each case is then a subject.

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


def listed_subject(layout: str, cases: Sequence[str]) -> str | None:
    """Return the regular expression for subjects that a list of images names; None if `default_subject` is to be used.

    Parameters
    ----------
    layout : str
        Layout of the index.
    cases : sequence of str
        Names of cases.

    Examples
    --------
    >>> names = ["ds/A1/ses-1/t1.nii.gz", "ds/A1/ses-2/t1.nii.gz", "ds/B1/ses-1/t1.nii.gz"]
    >>> list(subjects_of(names, listed_subject("nnssl", names)))
    ['ds/A1', 'ds/B1']
    """
    return LISTED if layout == "nnssl" and default_subject(cases) != BIDS else None


def corpus_subject(datasets: Sequence[Sequence[str]]) -> str | None:
    """Return the regular expression for subjects of several data sets; None if `default_subject` is to be used.

    Parameters
    ----------
    datasets : sequence of sequence of str
        Names of the cases of each data set, which begin with the name of the data set.

    Raises
    ------
    ValueError
        If two cases of one data set have the same short name.

    Examples
    --------
    >>> names = [["mr/p1.nii.gz", "mr/p2.nii.gz"], ["ct/p1.nii.gz"]]
    >>> list(subjects_of(sum(names, []), corpus_subject(names)))
    ['mr/p1', 'mr/p2', 'ct/p1']
    """
    cases = [case for some in datasets for case in some]
    if default_subject(cases):
        return None
    for some in datasets:
        group_by_subject(some, None)
    return WHOLE if len({short_name(case) for case in cases}) < len(cases) else None


def subjects_of(cases: Sequence[str], subject: str | None = None) -> dict[str, list[str]]:
    """Group cases by subject, with the given regular expression or that of `default_subject`.

    Without either, each case is a subject, with its whole name as key.
    """
    rule = subject or default_subject(cases)
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(find_subject(case, rule) if rule else case, []).append(case)
    return groups


def count_subjects(cases: Sequence[str], subject: str | None = None) -> str:
    """Return the text "N subjects, M cases" for names of cases.

    Examples
    --------
    >>> count_subjects(["sub-01_ses-1", "sub-01_ses-2"]), count_subjects(["a", "b"])
    ('1 subject, 2 cases', '2 subjects, 2 cases')
    """
    subjects = len(subjects_of(cases, subject))
    return f"{subjects} subject{'s' * (subjects != 1)}, {len(cases)} case{'s' * (len(cases) != 1)}"


def find_lookalikes(parts: Mapping[str, str]) -> str:
    """Return a warning if names in two parts differ only in a session, a channel or a frame; "" otherwise.

    Parameters
    ----------
    parts : mapping of str to str
        Part of each case or subject.

    Examples
    --------
    >>> find_lookalikes({"p1_visit1": "train", "p1_visit2": "test", "p2_visit1": "train"})[:58]
    'p1_visit1 (train) and p1_visit2 (test) differ only in a se'
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
        f"{first} ({one}) and {second} ({other}) differ only in a session, a channel or a frame{more}; if they belong "
        "to one patient, make a split with --subject REGEX, which keeps them in one part"
    )


def _channels(names: Iterable[str]) -> set[str]:
    """Return the stems of names that end in a channel number; empty if such numbers count cases.

    Channel numbers are small and usually start from 0000; a single common stem is the name of a data set, not of a
    case.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        if numbered := _NUMBERED.fullmatch(re.sub(r"#\d+$", "", short_name(name))):
            found.setdefault(numbered[1], set()).add(int(numbered[2]))
    complete = sum(0 in numbers for numbers in found.values())
    few = all(max(numbers) < MAX_CHANNELS for numbers in found.values())
    return set(found) if len(found) > 1 and few and 2 * complete >= len(found) else set()


def _stem(name: str, numbered: set[str]) -> str:
    """Return a name without its session, channel, frame and part of the data."""
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
