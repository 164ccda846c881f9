"""Names of series without what names a patient or a date: hashes of their UIDs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from dali_cr.tools.importers.dicom.headers import Header


def hash_uid(uid: str) -> str:
    """Return 16 hexadecimal digits that stand for a UID, which may have dates and serial numbers in it.

    Examples
    --------
    >>> hash_uid("1.2.840.113619.2.5.1762583153.215519.978957063.78")
    'eb8183359aad83b0'
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def name_subjects(headers: Iterable[Header], out: Path) -> dict[str, str]:
    """Return for each series the folder of its patient, such as "sub-eb8183359aad83b0".

    It is the first of the hashes of the patient's series: one of the PatientID could be found by trying all of them.
    Where the folder of stores has one of these series already, its folder is kept.

    Parameters
    ----------
    headers : iterable of Header
    out : Path
        The folder of stores.

    Returns
    -------
    folders : dict of str to str
        By SeriesInstanceUID. Of files without a PatientID, a study counts as a patient.
    """
    there = {path.stem.partition("-")[0]: path.parent.name for path in sorted(out.glob("sub-*/*.ozx"))}
    patients: Mapping[tuple[str, str], set[str]] = defaultdict(set)
    for header in headers:
        if header.series:
            key = ("patient", header.patient) if header.patient else ("study", header.study or header.series)
            patients[key].add(header.series)
    folders = {}
    for series in patients.values():
        hashes = sorted(hash_uid(uid) for uid in series)
        known = sorted(there[name] for name in hashes if name in there)
        folders.update(dict.fromkeys(series, known[0] if known else f"sub-{hashes[0]}"))
    return folders
