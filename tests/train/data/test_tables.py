"""Tables of labels: commas or semicolons, and what is refused."""

from pathlib import Path

import pytest

from train.data.tables import choose_columns, read_table


@pytest.mark.parametrize("mark", [",", ";"])
def test_reads(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"\ufeffname{mark} plane\nP1_1{mark}Brain \n\nP1_2{mark}Femur\n", encoding="utf-8")
    columns, rows = read_table(path)
    assert columns == ["plane"]
    assert rows == {"P1_1": {"plane": "Brain"}, "P1_2": {"plane": "Femur"}}
    assert choose_columns(path, columns, ()) == ["plane"]
    with pytest.raises(ValueError, match="wanted some of plane"):
        choose_columns(path, columns, ("organ",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,plane\n", "and rows"),
        ("name\nP1\n", "one more"),
        ("name,plane\nP1,Brain\nP1,Femur\n", "P1 has two"),
        ("name,plane\nP1\n", "wanted 2 columns, got 1 in line 2"),
    ],
)
def test_refuses(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_refuses_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(tmp_path / "labels.csv")
