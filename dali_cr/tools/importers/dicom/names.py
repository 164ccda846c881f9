"""Name series by hashes of their UIDs, without names of patients or dates."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from dali_cr.tools.importers.dicom.headers import Header


def hash_uid(uid: str) -> str:
    """Return 16 hexadecimal digits in place of a UID, which may contain dates and serial numbers.

    Examples
    --------
    >>> hash_uid("1.2.840.113619.2.5.1762583153.215519.978957063.78")
    'eb8183359aad83b0'
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def name_subjects(headers: Iterable[Header], out: Path) -> dict[str, str]:
    """Return the folder of the patient for each series, such as "sub-eb8183359aad83b0".

    The name is the first hash of the patient's series. A hash of the PatientID could be reversed by trying all IDs. If
    one of the series already has a store, its folder is used.

    Parameters
    ----------
    headers : iterable of Header
    out : Path
        The folder of stores.

    Returns
    -------
    folders : dict of str to str
        Folders by SeriesInstanceUID. Without a PatientID, a study counts as a patient.
    """
    existing = {path.stem.partition("-")[0]: path.parent.name for path in sorted(out.glob("sub-*/*.ozx"))}
    patients: Mapping[tuple[str, str], set[str]] = defaultdict(set)
    for header in headers:
        if header.series:
            key = ("patient", header.patient) if header.patient else ("study", header.study or header.series)
            patients[key].add(header.series)
    folders = {}
    for series in patients.values():
        hashes = sorted(hash_uid(uid) for uid in series)
        known = sorted(existing[name] for name in hashes if name in existing)
        folders.update(dict.fromkeys(series, known[0] if known else f"sub-{hashes[0]}"))
    return folders
