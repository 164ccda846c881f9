"""Marks of LUNA16: candidates, nodules and irrelevant findings, at positions in mm along left, posterior, superior."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from ..folder import find_files, refuse_missing

POSITION = ("coordX", "coordY", "coordZ")
SERIES = "seriesuid"


@dataclass(frozen=True)
class Mark:
    """A position in a scan.

    Attributes
    ----------
    scan : str
        SeriesInstanceUID.
    position : (x, y, z) float
        In mm along left, posterior, superior, as published.
    value : float
        Diameter in mm of a nodule, 0 or 1 of a candidate.
    """

    scan: str
    position: tuple[float, float, float]
    value: float


def find_table(source: Path, name: str) -> Path:
    """Return a table anywhere under a folder; copies of the same bytes are one.

    Raises
    ------
    ValueError
        If it is missing, or there are two of different content.
    """
    found = find_files(source, [name])
    refuse_missing([name] * (not found), "the tables of LUNA16", "download them with the scans")
    for other in found[1:]:
        if other.read_bytes() != found[0].read_bytes():
            raise ValueError(f"source: expected one {name}, {found[0]} and {other} differ; remove one")
    return found[0]


def read_marks(path: Path, value: str) -> list[Mark]:
    """Read a table of LUNA16.

    Parameters
    ----------
    path : Path
    value : str
        Column of the value: ``diameter_mm``, or ``class`` of candidates.

    Raises
    ------
    ValueError
        If it cannot be read, lacks a column, or a row is invalid.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"source: expected a CSV file, {path} cannot be read: {error}") from error
    columns = {SERIES, *POSITION, value} - set(reader.fieldnames or ())
    refuse_missing(columns, f"the columns of {path}", "is it the published file?")
    marks = []
    for number, line in enumerate(lines, start=2):
        try:
            x, y, z, size = (float(line[name]) for name in (*POSITION, value))
        except (TypeError, ValueError) as error:
            raise ValueError(f"source: expected numbers in line {number} of {path}: {error}") from error
        valid = size in (0, 1) if value == "class" else size == size
        if not (line[SERIES] and valid and all(map(math.isfinite, (x, y, z)))):
            raise ValueError(f"source: expected a series, a position and a valid {value} in line {number} of {path}")
        marks.append(Mark(line[SERIES], (x, y, z), size))
    return marks


def read_findings(path: Path) -> tuple[list[Mark], list[Mark]]:
    """Read nodules and irrelevant findings from the table that was prepared from the published ones."""
    found: tuple[list[Mark], list[Mark]] = ([], [])
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = (float(row["x"]), float(row["y"]), float(row["z"]))
            found[int(row["excluded"])].append(Mark(row["seriesuid"], place, float(row["diameter_mm"])))
    return found
