"""Read a CSV file that lists files: column `path`; optional columns `case`, `channel`, `modality` and `licence`."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from dali_cr.index.files import Found
from dali_cr.index.layout.walk import refuse_url

_COLUMNS = ("path", "case", "channel", "modality", "licence", "license")
_DELIMITERS = ",;\t"


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of a CSV file."""
    return os.fspath(path).lower().endswith(".csv")


def read_csv_files(table: Path) -> tuple[Path, dict[str, Found]]:
    """Read the list of files in a CSV file.

    Empty rows and other columns are ignored, and values are stripped. Paths are absolute, or relative to the folder of
    the CSV file.

    Parameters
    ----------
    table : Path

    Returns
    -------
    top : Path
        The folder of the CSV file, or the common parent if some files are outside of it.
    files : dict of str to Found
        By path relative to `top`, sorted.

    Raises
    ------
    ValueError
        If the CSV file is invalid, a row has no path or a URL, or two rows have the same path.
    """
    rows = _rows(table)
    home = table.absolute().parent
    found: dict[Path, Found] = {}
    for number, row in rows:
        where = f"{table}, line {number}"
        if not row["path"]:
            raise ValueError(f"{where}: expected a path in each row")
        if bool(row["channel"]) != bool(rows[0][1]["channel"]) or row["channel"] and not row["case"]:
            raise ValueError(f"{where}: expected a case and a channel in each row, or no channel in any")
        refuse_url(row["path"])
        path = Path(os.path.normpath(home / row["path"]))
        if path in found:
            raise ValueError(f"{where}: expected one row per file, got two for {row['path']}")
        texts = {"modality": row["modality"], "licence": row["licence"] or row["license"]}
        found[path] = Found(row["case"] or None, row["channel"] or None, explicit=True, **texts)
    inside = all(path.is_relative_to(home) for path in found)
    top = home if inside else Path(os.path.commonpath([home, *(path.parent for path in found)]))
    files = {path.relative_to(top).as_posix(): file for path, file in found.items()}
    return top, dict(sorted(files.items()))


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows with their line numbers; each row has all of `_COLUMNS`."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            declared = head.lower().startswith("sep=")
            delimiter = head.strip()[4:] if declared else max(_DELIMITERS, key=head.count)
            if not declared:
                file.seek(0)
            reader = csv.reader(file, delimiter=delimiter or ",")
            lines = [(reader.line_num + declared, [text.strip() for text in line]) for line in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: expected a CSV file in UTF-8, got another encoding; save it as UTF-8") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{table}: expected a CSV file of paths, got one that cannot be read: {error}") from error
    lines = [(number, line) for number, line in lines if any(line)]
    header = lines[0][1] if lines else []
    if header.count("path") != 1 or len(lines) < 2:
        raise ValueError(f"{table}: expected a CSV file with a column path, and rows; got columns {', '.join(header)}")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise ValueError(
                f"{table}, line {number}: expected {len(header)} columns as in the header, got {len(line)}"
            )
    empty = dict.fromkeys(_COLUMNS, "")
    return [(number, {**empty, **dict(zip(header, line, strict=True))}) for number, line in lines[1:]]
