"""Reading of CSV files with one row per case."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, str]

EMPTY = frozenset({"", "nan", "n/a", "#n/a"})
"""Lower-case contents of cells without a value, as written by hand, pandas, BIDS and Excel."""

_MARKS = ",;\t"
_INDEX = re.compile(r"(Unnamed: \d+)?")
"""Name of the index column that pandas' `to_csv` writes."""

_RESET = ("index", "level_0")
"""Names of the index column after pandas' `reset_index`; a column of cases may also have them."""

_Line = tuple[int, list[str]]
"""The number of a line in the file, and its cells."""


@dataclass(frozen=True)
class Table:
    """Content of a CSV file.

    Attributes
    ----------
    path : Path
    columns : list of str
        All columns but the first, which names the case.
    rows : dict of str to dict
        Rows by case: the text of each column, "" for an empty cell.
    notes : tuple of str
        Lines about skipped rows and columns.
    """

    path: Path
    columns: list[str]
    rows: dict[str, Row]
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> tuple[list[str], dict[str, Row]]:
    """Return the columns and rows of a CSV file; see `load_table`."""
    table = load_table(path)
    return table.columns, table.rows


def load_table(path: Path) -> Table:
    """Read a CSV file with a header, separated by commas, semicolons or tabs; its first column names the case.

    Cells are stripped of blanks. Rows without a value or a case, and index columns of pandas, are skipped and noted;
    Excel's line ``sep=,`` is recognised.

    Raises
    ------
    ValueError
        If the file is invalid, a case has two rows, or two columns have the same name.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(_read_lines(file.read()))
    except UnicodeDecodeError as error:
        raise ValueError(f"labels: expected a CSV file in UTF-8, {path} is not; save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise ValueError(f"labels: expected a CSV file, {path} cannot be read: {error}") from error
    (_, header), body = lines[0] if lines else (1, []), lines[1:]
    filled = [line for line in body if any(line[1])]
    notes = [_counted(len(body) - len(filled), "row", f"of {path.name} without a value", "skipped")]
    header, filled = _same_length(path, header, filled)
    header, filled, dropped = _without_row_numbers(header, filled)
    numbered = [f"column {name or '1, without a name,'} of {path.name} numbers the rows: skipped" for name in dropped]
    if not filled or len(header) < 2:
        raise ValueError(f"labels: expected a CSV file with a header, at least two columns and rows, got {path}")
    _check_header(path, header)
    named = [(number, line) for number, line in filled if line[0]]
    notes += [*numbered, _counted(len(filled) - len(named), "row", f"of {path.name} without a case", "skipped")]
    first: dict[str, int] = {}
    for number, line in named:
        if (other := first.setdefault(line[0], number)) != number:
            why = "".join(f"; {note}" for note in numbered)
            raise ValueError(
                f"labels: expected one row per case, {line[0]} has two in {path}, lines {other} and {number}{why}"
            )
    rows = {line[0]: dict(zip(header[1:], line[1:], strict=True)) for _, line in named}
    return Table(path, header[1:], rows, tuple(filter(None, notes)))


def choose_columns(path: Path, columns: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the requested columns, or all if none is requested.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(f"columns: expected some of {', '.join(columns)} in {path}, got {missing[0]}")
    return list(wanted) or columns


def rows_with_values(table: Table, columns: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the cells of columns by case, for cases with values in all of them and for the other cases."""
    cells = {case: [row[column] for column in columns] for case, row in table.rows.items()}
    full = {case: texts for case, texts in cells.items() if all(texts)}
    return full, {case: texts for case, texts in cells.items() if case not in full}


def _read_lines(text: str) -> Iterator[_Line]:
    """Yield the lines that have cells, with stripped text; empty cells become ""."""
    lines, first = list(io.StringIO(text, newline="")), 0
    mark = max(_MARKS, key=re.sub('"[^"]*"', "", lines[0]).count) if lines else ","
    if lines and (declared := re.fullmatch(r'"?sep=(.)"?[,;\t]*\s*', lines[0], re.IGNORECASE)):
        mark, first = declared[1], 1
    reader = csv.reader(lines[first:], delimiter=mark)
    for cells in reader:
        if cells:
            stripped = [cell.strip() for cell in cells]
            yield reader.line_num + first, ["" if cell.lower() in EMPTY else cell for cell in stripped]


def _same_length(path: Path, header: list[str], lines: list[_Line]) -> tuple[list[str], list[_Line]]:
    """Remove the unnamed empty cells that spreadsheets write after the last column."""
    width = len(header)
    while width and not header[width - 1] and not any(any(cells[width - 1 : width]) for _, cells in lines):
        width -= 1
    cut = []
    for number, cells in lines:
        if len(cells) < width or any(cells[width:]):
            raise ValueError(f"labels: expected {width} columns, got {len(cells)} in line {number} of {path}")
        cut.append((number, cells[:width]))
    return header[:width], cut


def _without_row_numbers(header: list[str], lines: list[_Line]) -> tuple[list[str], list[_Line], list[str]]:
    """Drop leading columns that number the rows, while at least two columns remain."""
    dropped: list[str] = []
    while len(header) > 2 and _numbers_rows(header[0], [cells[:2] for _, cells in lines]):
        dropped.append(header[0])
        header, lines = header[1:], [(number, cells[1:]) for number, cells in lines]
    return header, lines, dropped


def _numbers_rows(name: str, cells: list[list[str]]) -> bool:
    """Whether a first column is pandas' index; `cells` has the first two columns."""
    if _INDEX.fullmatch(name):
        return all(number.isdecimal() for number, _ in cells)
    counted = [number for number, _ in cells] == [str(number) for number in range(len(cells))]
    return name in _RESET and counted and len({second for _, second in cells}) == len(cells)


def _check_header(path: Path, header: list[str]) -> None:
    """Check that all columns but the first have different, non-empty names."""
    for place, name in enumerate(header[1:], start=2):
        if not name:
            raise ValueError(f"labels: expected a name for each column, column {place} of {path} has none")
        if header.index(name) != place - 1:
            raise ValueError(f"labels: expected columns of different names, {path} has {name} twice")


def _counted(count: int, what: str, where: str, then: str) -> str:
    """Return a line about a number of things, "" for none."""
    return f"{count} {what}{'s' * (count != 1)} {where}: {then}" if count else ""
