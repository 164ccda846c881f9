"""Scans of LUNA16: ten subsets of .mhd files, imported to brick stores, and the split of a fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import dali_cr

from ...data.split.parts import PARTS, Split
from ..folder import refuse_missing

SUBSETS = tuple(f"subset{number}" for number in range(10))
SUBJECT = r"^[\d.]+"
"""Finds the scan in the name of a scan or of a candidate."""


def find_scans(source: Path, *, complete: bool) -> dict[str, list[str]]:
    """Return the names of the scans of each subset that is there.

    Raises
    ------
    ValueError
        If subsets are missing, of those that must be there, or a scan is in two.
    """
    found = {name: sorted(path.stem for path in (source / name).glob("*.mhd")) for name in SUBSETS}
    found = {name: scans for name, scans in found.items() if scans}
    if complete or not found:
        refuse_missing(set(SUBSETS) - set(found), "the ten subsets", "unpack all archives, or give --missing leave")
    twice = [scan for scan, count in Counter(scan for scans in found.values() for scan in scans).items() if count > 1]
    if twice:
        raise ValueError(f"source: expected each scan in one subset, {min(twice)} is in several")
    return found


def import_scans(source: Path, out: Path, subsets: Iterable[str], *, complete: bool) -> dict[str, Path]:
    """Convert the scans of subsets to brick stores, and return the store of each.

    Raises
    ------
    ValueError
        If a scan cannot be read, of those that must be there.
    """
    stores: dict[str, Path] = {}
    for subset in subsets:
        folder = out.absolute() / "scans" / subset
        done = dali_cr.import_volumes(source / subset, folder, format="mha")
        if done.problems and complete:
            first = done.problems[0]
            raise ValueError(
                f"source: expected scans that can be read, {len(done.problems)} of {subset} cannot ({first.path}: "
                f"{first.reason}); unpack the archive again, or give --missing leave"
            )
        stores |= {Path(one.path).stem: folder / one.target for one in done.files}
    return stores


def make_fold(subsets: Mapping[str, Collection[str]], fold: int) -> Split:
    """Return the split of a fold: its subset for the test, the next one for validation, the others for training.

    Raises
    ------
    ValueError
        If the subset of the fold is missing, or there are fewer than three.
    """
    test = SUBSETS[fold]
    refuse_missing([test] * (test not in subsets), f"the subset of fold {fold}", "unpack it, or give other --folds")
    if len(subsets) < len(PARTS):
        raise ValueError(f"source: expected at least {len(PARTS)} subsets, got {', '.join(subsets)}")
    val = next(name for name in SUBSETS[fold + 1 :] + SUBSETS[:fold] if name in subsets)
    train = {scan for name, scans in subsets.items() if name not in (test, val) for scan in scans}
    return Split(frozenset(train), frozenset(subsets[val]), frozenset(subsets[test]), SUBJECT)
