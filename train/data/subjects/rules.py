"""Regular expressions that find subjects in names of known layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dali_cr.index.grouping import MAX_CHANNELS

from .names import TAIL, find_subject, group_by_subject, short_name

BIDS = r"(?<![^/])sub-[A-Za-z0-9]+"
"""Finds the subject in BIDS names."""

NNUNET = rf"[^/]+?(?=(?:_\d{{4}})?{TAIL})"
"""Finds the case in nnU-Net names, with a channel number (case_0000) or without."""

LISTED = r"^.+(?=/[^/]+/[^/]+$)"
"""Finds data set and subject in names of nnssl's list: data set, subject, session, image."""

BRATS = r"(?<![^/])BraTS-[A-Za-z0-9]+-\d+(?=-\d{3})"
"""Finds the patient in names of BraTS 2023 and later, which end in the number of the time point."""

WHOLE = rf"^.+?(?={TAIL})"
"""Finds a case's whole name, without suffixes."""

_NAME = rf"[^/]+?(?={TAIL})"

NUMBERED = re.compile(r"(.+)_(\d{4})")


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
    rule = NNUNET if find_channels(others) else None
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


def find_channels(names: Iterable[str]) -> set[str]:
    """Return the stems of names that end in a channel number; empty if such numbers count cases.

    Channel numbers are small and usually start from 0000; a single common stem is the name of a data set, not of a
    case.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        if numbered := NUMBERED.fullmatch(re.sub(r"#\d+$", "", short_name(name))):
            found.setdefault(numbered[1], set()).add(int(numbered[2]))
    complete = sum(0 in numbers for numbers in found.values())
    few = all(max(numbers) < MAX_CHANNELS for numbers in found.values())
    return set(found) if len(found) > 1 and few and 2 * complete >= len(found) else set()
