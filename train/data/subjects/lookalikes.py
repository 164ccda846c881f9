"""Names in different parts of a split that may be of one patient."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .names import SUFFIX
from .rules import NUMBERED, find_channels

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
    numbered = find_channels(parts)
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


def _stem(name: str, numbered: set[str]) -> str:
    """Return a name without its session, channel, frame and part of the data."""
    kept = []
    *folders, last = SUFFIX.sub("", name).split("/")
    if (found := NUMBERED.fullmatch(last)) and found[1] in numbered:
        last = found[1]
    for piece in [*(folder for folder in folders if not _PART.fullmatch(folder)), last]:
        before = None
        while piece != before:
            before, piece = piece, _ENDING.sub("", piece)
        kept += [piece] * bool(piece)
    return "/".join(kept) or name
