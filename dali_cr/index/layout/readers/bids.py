"""Read the BIDS layout: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, where the suffix is the channel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dali_cr.index.layout.readers.claims import Claims, stem_of
from dali_cr.volume.reader import is_volume

_NAME = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9+]+)(_(?P<session>ses-[A-Za-z0-9+]+))?(?P<more>(_[A-Za-z]+-[A-Za-z0-9+]+)*)"
    r"_(?P<suffix>[A-Za-z0-9]+)"
)
_LEVEL = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9+]+)|(?P<session>ses-[A-Za-z0-9+]+)"
    r"|anat|func|dwi|fmap|perf|pet|meg|eeg|ieeg|beh|micr|nirs|motion|mrs"
)
_EXCLUDED = ("derivatives", "sourcedata", "code")
"""Folders next to the subjects whose files are not original images."""


def read_bids(root: Path, paths: Sequence[str], channels: Sequence[str], requested: bool) -> Claims | None:
    """Read the files of a folder as a BIDS data set.

    A case is named by subject, session and other entities, as in `sub-01_ses-1_run-2`. The suffix is the channel.

    Parameters
    ----------
    root : Path
    paths : sequence of str
        Relative paths of the volumes and images.
    channels : sequence of str
        Suffixes to use, in order. Default: all.
    requested : bool
        Whether the user selected the layout. Otherwise the folder must have a `dataset_description.json`, or all
        volumes must have BIDS names.

    Returns
    -------
    claims : Claims or None
        None if the folder does not have the layout.
    """
    skipped: dict[str, str] = {}
    names = {}
    for path in paths:
        excluded = next((part for part in PurePosixPath(path).parts[:-1] if part in _EXCLUDED), None)
        if excluded:
            skipped[path] = f"in {excluded}"
        elif not is_volume(path) or not (found := _parse(path)):
            skipped[path] = "outside the layout"
        elif channels and found[1] not in channels:
            skipped[path] = "of other channels"
        else:
            names[path] = found
    strangers = any(why == "outside the layout" and is_volume(path) for path, why in skipped.items())
    if not names or strangers and not requested and not (root / "dataset_description.json").is_file():
        return None
    return Claims(names, tuple(channels), skipped)


def _parse(path: str) -> tuple[str, str] | None:
    """Return the case and channel of a path; None if it is not a BIDS name."""
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
