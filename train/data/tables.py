"""Labels that are rows of a CSV file, one a case."""

from __future__ import annotations

import csv
from pathlib import Path

Row = dict[str, str]


def read_table(path: Path) -> tuple[list[str], dict[str, Row]]:
    """Read a CSV file with a header, of commas or semicolons; its first column names the case, by its path or its name.

    Returns
    -------
    columns : list of str
        The others.
    rows : dict of str to dict
        By case; from a column to its text.

    Raises
    ------
    ValueError
        If it is no such file, or a case has two rows.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            lines = [
                line for line in csv.reader(file, delimiter=";" if head.count(";") > head.count(",") else ",") if line
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"labels: wanted a CSV file, {path} cannot be read: {error}") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ValueError(f"labels: wanted a CSV file with a header, a column of cases and one more, and rows; {path}")
    header = [name.strip() for name in lines[0]]
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise ValueError(f"labels: wanted {len(header)} columns, got {len(line)} in line {number} of {path}")
        if line[0] in rows:
            raise ValueError(f"labels: wanted one row a case, {line[0]} has two in {path}")
        rows[line[0].strip()] = {name: text.strip() for name, text in zip(header[1:], line[1:], strict=True)}
    return header[1:], rows


def choose_columns(path: Path, columns: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the columns that were asked for, all of them if none was.

    Raises
    ------
    ValueError
        If one is not there.
    """
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(f"columns: wanted some of {', '.join(columns)} in {path}, got {missing[0]}")
    return list(wanted) or columns
