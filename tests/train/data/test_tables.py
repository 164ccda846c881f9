"""CSV files: separators, skipped rows and columns, and errors."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.tables import choose_columns, load_table, read_table, rows_with_values

ROWS = {"P1_1": {"plane": "Brain"}, "P1_2": {"plane": "Femur"}}


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_reads(mark: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"\ufeffname{mark} plane\nP1_1{mark}Brain \n\nP1_2{mark}Femur\n")
    columns, rows = read_table(path)
    assert columns == ["plane"]
    assert rows == ROWS
    assert load_table(path).notes == ()
    assert choose_columns(path, columns, ()) == ["plane"]
    with pytest.raises(ValueError, match="expected some of plane"):
        choose_columns(path, columns, ("organ",))


@pytest.mark.parametrize(
    "text",
    [
        "sep=,\nname,plane\nP1_1,Brain\nP1_2,Femur\n",
        "\ufeffsep=;\r\nname;plane\r\nP1_1;Brain\r\nP1_2;Femur\r\n",
        '"sep=;"\nname;plane\nP1_1;Brain\nP1_2;Femur\n',
        "SEP=,,\nname,plane,\nP1_1,Brain,\nP1_2,Femur,\n",
        "sep=\t\nname\tplane\nP1_1\tBrain\nP1_2\tFemur\n",
        "sep=|\nname|plane\nP1_1|Brain\nP1_2|Femur\n",
        "name,plane,,\nP1_1,Brain,,\nP1_2,Femur\n",
        '"na,me";plane\nP1_1;Brain\nP1_2;Femur\n',
    ],
)
def test_what_excel_writes(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    assert read_table(path) == (["plane"], ROWS)
    assert load_table(path).notes == ()


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (",name,plane\n0,P1_1,Brain\n1,P1_2,Femur\n", "1, without a name,"),
        (",name,plane\n7,P1_1,Brain\n3,P1_2,Femur\n", "1, without a name,"),
        ("Unnamed: 0,name,plane\n0,P1_1,Brain\n1,P1_2,Femur\n", "Unnamed: 0"),
        ("index,name,plane\n0,P1_1,Brain\n1,P1_2,Femur\n", "index"),
    ],
)
def test_pandas_row_numbers_are_no_cases(text: str, column: str, tmp_path: Path) -> None:
    table = load_table(write(tmp_path, text))
    assert (table.columns, table.rows) == (["plane"], ROWS)
    assert table.notes == (f"column {column} of labels.csv numbers the rows: skipped",)


def test_pandas_row_numbers_written_twice(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, ",Unnamed: 0,name,plane\n0,0,P1_1,Brain\n1,1,P1_2,Femur\n"))
    assert (table.columns, table.rows, len(table.notes)) == (["plane"], ROWS, 2)


@pytest.mark.parametrize(
    ("text", "cases"),
    [
        (",plane\n0,Brain\n1,Femur\n", ["0", "1"]),
        (",plane,x\nP1_1,Brain,1\nP1_2,Femur,2\n", ["P1_1", "P1_2"]),
        ("index,plane,x\n0,Brain,1\n1,Brain,2\n", ["0", "1"]),
        ("index,plane,x\n5,Brain,1\n7,Femur,2\n", ["5", "7"]),
    ],
)
def test_numbers_may_be_cases(text: str, cases: list[str], tmp_path: Path) -> None:
    table = load_table(write(tmp_path, text))
    assert (list(table.rows), table.notes) == (cases, ())


def test_empty_rows_and_cells_are_counted(tmp_path: Path) -> None:
    text = "name,plane,age\nP1_1,Brain,1\n,,\n , ,\nP1_2,,2\nP1_3,nan,N/A\n,Femur,3\n"
    table = load_table(write(tmp_path, text))
    assert table.notes == (
        "2 rows of labels.csv without a value: skipped",
        "1 row of labels.csv without a case: skipped",
    )
    assert list(table.rows) == ["P1_1", "P1_2", "P1_3"]
    full, empty = rows_with_values(table, ["plane"])
    assert full == {"P1_1": ["Brain"]}
    assert list(empty) == ["P1_2", "P1_3"]
    assert list(rows_with_values(table, ["age"])[0]) == ["P1_1", "P1_2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "and rows"),
        ("name,plane\n", "and rows"),
        ("name,plane\n,\n", "and rows"),
        ("name\nP1\n", "at least two columns and rows"),
        ("name,plane\nP1,Brain\nP1,Femur\n", "P1 has two in .*, lines 2 and 3"),
        ("name,plane\nP1,Brain\n\n P1 ,Femur\n", "P1 has two in .*, lines 2 and 4"),
        ("name,plane\nP1\xa0,Brain\nP1,Femur\n", "P1 has two"),
        (",plane,age\n0,Brain,1\n1,Brain,2\n", "Brain has two in .*; column 1, without a name, of .* numbers the rows"),
        ("name,plane\nP1\n", "expected 2 columns, got 1 in line 2"),
        ("name,plane\nP1,Brain,Femur\n", "expected 2 columns, got 3 in line 2"),
        ("name,plane, plane\nP1,Brain,Femur\n", "has plane twice"),
        ("name,,age\nP1,Brain,3\n", "column 2 of .* has none"),
    ],
)
def test_refuses(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_refuses_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="expected a CSV file in UTF-8, .*labels.csv is not"):
        read_table(tmp_path / "labels.csv")


WORDS = st.text("abc,;\"' \n\u2028é", min_size=1).map(str.strip).filter(bool)
CELLS = st.lists(st.sampled_from(["", " ", "x", "1", "two words", 'a"b', "a,b;c"]), min_size=2, max_size=2)


@settings(deadline=None)
@given(
    rows=st.dictionaries(WORDS, CELLS, min_size=1),
    blank=st.lists(st.sampled_from(["", " ", "NaN"]), max_size=3),
    mark=st.sampled_from([",", ";", "\t"]),
    told=st.booleans(),
    numbered=st.booleans(),
)
def test_no_row_is_lost(
    rows: dict[str, list[str]],
    blank: list[str],
    mark: str,
    told: bool,
    numbered: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    lines = [[name, *cells] for name, cells in rows.items()]
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"sep={mark}\n" * told)
        table = csv.writer(file, delimiter=mark)
        table.writerow([""] * numbered + ["case", "one", "two"])
        table.writerows([[str(n)] * numbered + line for n, line in enumerate(lines)])
        table.writerows([["", one, ""] + [""] * numbered for one in blank])
    columns, found = read_table(path)
    assert columns == ["one", "two"]
    assert found == {name: {"one": one.strip(), "two": two.strip()} for name, (one, two) in rows.items()}
