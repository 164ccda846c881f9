"""Labels that are rows of a CSV file, one a case."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, str]

EMPTY = frozenset({"", "nan", "n/a", "#n/a"})
"""What a cell without a value holds, in small letters: as typed, and as written by pandas, BIDS and Excel."""

_MARKS = ",;\t"
_INDEX = re.compile(r"(Unnamed: \d+)?")
"""Name of the column in which pandas' `to_csv` numbers the rows."""

_RESET = ("index", "level_0")
"""Its names after `reset_index`, which may be names of a column of cases too."""

_Line = tuple[int, list[str]]
"""A line's number in the file, and its cells."""


@dataclass(frozen=True)
class Table:
    """Content of a CSV file.

    Attributes
    ----------
    path : Path
    columns : list of str
        All but the first, which names the case.
    rows : dict of str to dict
        By case; from a column to its text, which is empty for an empty cell.
    notes : tuple of str
        Lines about what of the file is not used.
    """

    path: Path
    columns: list[str]
    rows: dict[str, Row]
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> tuple[list[str], dict[str, Row]]:
    """Return the columns and rows of a CSV file, as `load_table` does."""
    table = load_table(path)
    return table.columns, table.rows


def load_table(path: Path) -> Table:
    """Read a CSV file with a header, of commas, semicolons or tabs; its first column names the case.

    Blanks around cells are no part of them. Lines without a value or a case are skipped and counted; so are the columns
    of row numbers that pandas writes first, and Excel's line ``sep=,`` is no header.

    Raises
    ------
    ValueError
        If it is no such file, or a case has two rows, or two columns have one name.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(_read_lines(file.read()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"labels: expected a CSV file, {path} cannot be read: {error}") from error
    (_, header), body = lines[0] if lines else (1, []), lines[1:]
    filled = [line for line in body if any(line[1])]
    notes = [_counted(len(body) - len(filled), "row", f"of {path.name} without a value", "skipped")]
    header, filled = _same_length(path, header, filled)
    header, filled, dropped = _without_row_numbers(header, filled)
    numbered = [f"column {name or '1, without a name,'} of {path.name} numbers the rows: skipped" for name in dropped]
    if not filled or len(header) < 2:
        raise ValueError(f"labels: expected a CSV file with a header, a column of cases and one more, and rows; {path}")
    _check_header(path, header)
    named = [(number, line) for number, line in filled if line[0]]
    notes += [*numbered, _counted(len(filled) - len(named), "row", f"of {path.name} without a case", "skipped")]
    first: dict[str, int] = {}
    for number, line in named:
        if (other := first.setdefault(line[0], number)) != number:
            why = "".join(f"; {note}" for note in numbered)
            raise ValueError(
                f"labels: expected one row a case, {line[0]} has two in {path}, lines {other} and {number}{why}"
            )
    rows = {line[0]: dict(zip(header[1:], line[1:], strict=True)) for _, line in named}
    return Table(path, header[1:], rows, tuple(filter(None, notes)))


def choose_columns(path: Path, columns: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the columns that were asked for, all of them if none was.

    Raises
    ------
    ValueError
        If one is not there.
    """
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(f"columns: expected some of {', '.join(columns)} in {path}, got {missing[0]}")
    return list(wanted) or columns


def rows_with_values(table: Table, columns: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the cells of some columns by case: of cases that have a value in all of them, and of the others."""
    cells = {case: [row[column] for column in columns] for case, row in table.rows.items()}
    full = {case: texts for case, texts in cells.items() if all(texts)}
    return full, {case: texts for case, texts in cells.items() if case not in full}


def _read_lines(text: str) -> Iterator[_Line]:
    """Yield the lines that have cells, without blanks around these; empty cells are empty strings."""
    lines, first = list(io.StringIO(text, newline="")), 0
    mark = max(_MARKS, key=re.sub('"[^"]*"', "", lines[0]).count) if lines else ","
    if lines and (told := re.fullmatch(r'"?sep=(.)"?[,;\t]*\s*', lines[0], re.IGNORECASE)):
        mark, first = told[1], 1
    reader = csv.reader(lines[first:], delimiter=mark)
    for cells in reader:
        if cells:
            stripped = [cell.strip() for cell in cells]
            yield reader.line_num + first, ["" if cell.lower() in EMPTY else cell for cell in stripped]


def _same_length(path: Path, header: list[str], lines: list[_Line]) -> tuple[list[str], list[_Line]]:
    """Cut what spreadsheets write behind the last column: empty cells without a name."""
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
    """Drop first columns that number the rows, as long as two columns are left."""
    dropped: list[str] = []
    while len(header) > 2 and _numbers_rows(header[0], [cells[:2] for _, cells in lines]):
        dropped.append(header[0])
        header, lines = header[1:], [(number, cells[1:]) for number, cells in lines]
    return header, lines, dropped


def _numbers_rows(name: str, cells: list[list[str]]) -> bool:
    """Whether a first column, given with the second, is pandas' index."""
    if _INDEX.fullmatch(name):
        return all(number.isdecimal() for number, _ in cells)
    counted = [number for number, _ in cells] == [str(number) for number in range(len(cells))]
    return name in _RESET and counted and len({second for _, second in cells}) == len(cells)


def _check_header(path: Path, header: list[str]) -> None:
    """Refuse columns that cannot be told apart; the first may be without a name."""
    for place, name in enumerate(header[1:], start=2):
        if not name:
            raise ValueError(f"labels: expected a name for each column, column {place} of {path} has none")
        if header.index(name) != place - 1:
            raise ValueError(f"labels: expected columns of different names, {path} has {name} twice")


def _counted(count: int, what: str, where: str, then: str) -> str:
    """Return a line about so many things, empty for none."""
    return f"{count} {what}{'s' * (count != 1)} {where}: {then}" if count else ""
