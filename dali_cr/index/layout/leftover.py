"""The files that are neither cases nor problems: what kind they are, and what to say where there are no others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dali_cr.index.files import Globs
from dali_cr.index.volumes import Problem

IMPORTED = (".dcm", ".ima", ".mha", ".mhd", ".nrrd", ".nhdr", ".npy", ".b2nd")
"""Suffixes of files that `dali-cr import` takes."""


def kind_of(path: str, why: str) -> str:
    """Return the kind of an ignored file: its suffix, and the reason if the file could be read."""
    # DICOM files may be called by numbers with dots: the last is no suffix.
    found = re.search(r"\.[a-z]\w{0,9}(\.gz)?$", PurePosixPath(path).name, re.IGNORECASE)
    suffix = found[0].lower() if found else "without a suffix"
    return f"{suffix} {why}" if why else suffix


def nothing_found(top: Path, pattern: Globs, passed: Mapping[str, str], problems: Sequence[Problem]) -> str:
    """Return why there is no file to read."""
    globs = [pattern] if isinstance(pattern, str) else pattern
    wanted = f"files that match {', '.join(globs)}" if pattern else "NIfTI volumes"
    kinds = Counter(passed.values()).most_common(8)
    there = ", ".join(f"{count} {kind}" for kind, count in kinds) or "no file at all"
    advice = "; give another pattern" if kinds else ""
    if any(kind.startswith((".png", ".jpg", ".jpeg")) for kind in passed.values()) and not pattern:
        advice = "; images are taken by a pattern such as '**/*.png'"
    elif any(kind.startswith(IMPORTED) for kind in passed.values()):
        advice = "; dali-cr import makes volumes of other formats readable"
    why = "".join(f"; {p.path}: {p.reason}" for p in problems[:3])
    return f"{top}: expected {wanted} (NIfTI, PNG or JPEG are read), got {there}{advice}{why}"
