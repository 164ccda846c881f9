"""The layout of BIDS: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, whose suffix is the channel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dali_cr.index.layout.claims import Claims, stem_of
from dali_cr.volume.reader import is_volume

_NAME = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9+]+)(_(?P<session>ses-[A-Za-z0-9+]+))?(?P<more>(_[A-Za-z]+-[A-Za-z0-9+]+)*)"
    r"_(?P<suffix>[A-Za-z0-9]+)"
)
_LEVEL = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9+]+)|(?P<session>ses-[A-Za-z0-9+]+)"
    r"|anat|func|dwi|fmap|perf|pet|meg|eeg|ieeg|beh|micr|nirs|motion|mrs"
)
_OUT = ("derivatives", "sourcedata", "code")
"""Folders beside the subjects, whose files are not the data set's own images."""


def read_bids(root: Path, paths: Sequence[str], channels: Sequence[str], asked: bool) -> Claims | None:
    """Read the files of a folder as those of a BIDS data set.

    A case is a subject, with the session and all but the suffix: `sub-01_ses-1_run-2`. The suffix is the channel.

    Parameters
    ----------
    root : Path
    paths : sequence of str
        The volumes and images under it, relative.
    channels : sequence of str
        Suffixes to take, in order; all without them.
    asked : bool
        Whether the layout was asked for. Else it must have a `dataset_description.json`, or all volumes such names.

    Returns
    -------
    claims : Claims or None
        None if the folder has no such layout.
    """
    passed: dict[str, str] = {}
    names = {}
    for path in paths:
        out = next((part for part in PurePosixPath(path).parts[:-1] if part in _OUT), None)
        if out:
            passed[path] = f"in {out}"
        elif not is_volume(path) or not (found := _parse(path)):
            passed[path] = "outside the layout"
        elif channels and found[1] not in channels:
            passed[path] = "of other channels"
        else:
            names[path] = found
    strangers = any(why == "outside the layout" and is_volume(path) for path, why in passed.items())
    if not names or strangers and not asked and not (root / "dataset_description.json").is_file():
        return None
    return Claims(names, tuple(channels), passed)


def _parse(path: str) -> tuple[str, str] | None:
    """Return the case and channel of a path, None if BIDS has no such names."""
    found = _NAME.fullmatch(stem_of(path))
    if not found:
        return None
    subject, session, above = found["subject"], found["session"], []
    for part in PurePosixPath(path).parts[:-1]:
        level = _LEVEL.fullmatch(part)
        if not level:
            above.append(part)
        elif level["subject"] not in (None, subject) or session and level["session"] not in (None, session):
            return None
        else:
            session = session or level["session"]
    name = "_".join(filter(None, (subject, session))) + found["more"]
    return PurePosixPath(*above, name).as_posix(), found["suffix"]
