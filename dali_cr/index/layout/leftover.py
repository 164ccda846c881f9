"""Classify ignored files by kind, and explain why a folder has no usable file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from dali_cr.index.files import Globs
from dali_cr.index.volumes import Problem

IMPORTED = (".dcm", ".ima", ".mha", ".mhd", ".nrrd", ".nhdr", ".npy", ".b2nd")
"""Suffixes of files that `dali-cr import` converts."""


def kind_of(path: str, reason: str) -> str:
    """Return the kind of an ignored file: its suffix, and the reason if the file could be read."""
    # Names of DICOM files may be numbers with dots, which are not suffixes.
    found = re.search(r"\.[a-z]\w{0,9}(\.gz)?$", PurePosixPath(path).name, re.IGNORECASE)
    suffix = found[0].lower() if found else "without a suffix"
    return f"{suffix} {reason}" if reason else suffix


def nothing_found(top: Path, pattern: Globs, skipped: Mapping[str, str], problems: Sequence[Problem]) -> str:
    """Return the error message for a folder without a file to read."""
    globs = [pattern] if isinstance(pattern, str) else pattern
    expected = f"files that match {', '.join(globs)}" if pattern else "NIfTI volumes"
    kinds = Counter(skipped.values()).most_common(8)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds) or "no file at all"
    advice = "; give another pattern" if kinds else ""
    if any(kind.startswith((".png", ".jpg", ".jpeg")) for kind in skipped.values()) and not pattern:
        advice = "; for images give a pattern such as '**/*.png'"
    elif any(kind.startswith(IMPORTED) for kind in skipped.values()):
        advice = "; dali-cr import converts volumes of other formats"
    elif "without a suffix" in skipped.values():
        advice = "; if they are DICOM, dali-cr import converts them"
    reasons = "".join(f"; {p.path}: {p.reason}" for p in problems[:3])
    return f"{top}: expected {expected} (NIfTI, PNG or JPEG are read), got {found}{advice}{reasons}"
