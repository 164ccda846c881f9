"""Test scans of the files that a CSV file lists."""

import os
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from tests.helpers.volumes import write_nifti


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a/t1.nii", "a/t2.nii.gz", "b/t1.nii", "b/t2.nii", "c.nii")):
        write_nifti(tmp_path / "data" / name, np.random.default_rng(number).integers(0, 999, (4, 5, 6)))
    return tmp_path / "data"


def scan(folder: Path, text: str | bytes, **options: object) -> dali_cr.Index:
    table = folder / "files.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return dali_cr.scan(table, progress=False, **options)  # type: ignore[arg-type]


def test_paths_alone(folder: Path) -> None:
    index = scan(folder, "path\na/t1.nii\n\nc.nii\n")
    assert [case.name for case in index.cases] == ["a/t1.nii", "c.nii"]
    assert (index.root, index.layout) == (folder, "csv")


@pytest.mark.parametrize("kind", ["{}", "\ufeff{}", "sep=,\n{}", "semicolons", "tabs"])
def test_cases_and_channels(folder: Path, kind: str) -> None:
    rows = [
        "note,case,channel,path",
        "x,p1,t2, a/t2.nii.gz ",
        "x,p1,t1,a/t1.nii",
        ",,,",
        " ,p2,t1,b/t1.nii",
        ",p2,t2,b/t2.nii",
    ]
    text = "\n".join(rows)
    marks = {"semicolons": ";", "tabs": "\t"}
    text = text.replace(",", marks[kind]) if kind in marks else kind.format(text)
    index = scan(folder, text)
    assert {case.name: [v.path for v in case.volumes] for case in index.cases} == {
        "p1": ["a/t1.nii", "a/t2.nii.gz"],
        "p2": ["b/t1.nii", "b/t2.nii"],
    }
    assert index.channel_names == ("t1", "t2")
    assert scan(folder, text, channels=["t2"]).channels == 1


def test_files_outside_its_folder(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "lists" / "files.csv"
    table.parent.mkdir()
    table.write_text(f"path\n../data/c.nii\n{folder / 'a/t1.nii'}\n")
    index = dali_cr.scan(table, progress=False)
    assert index.root == tmp_path
    assert [case.name for case in index.cases] == ["data/a/t1.nii", "data/c.nii"]


def test_files_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / "x.dcm").touch()
    index = scan(folder, "path\nc.nii\ngone.nii\nx.dcm\n")
    reasons = {problem.path: problem.reason for problem in index.problems}
    assert list(reasons) == ["gone.nii", "x.dcm"]
    assert "got another suffix" in reasons["x.dcm"]


def test_two_rows_of_one_channel_are_refused(folder: Path) -> None:
    index = scan(folder, "path,case,channel\na/t1.nii,p,t1\nb/t1.nii,p,t1\na/t2.nii.gz,q,t1\n")
    assert [case.name for case in index.cases] == ["q"]
    assert [problem.path for problem in index.problems] == ["a/t1.nii", "b/t1.nii"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a column path"),
        ("path\n", "and rows"),
        ("file,case\na.nii,1\n", "got columns file, case"),
        ("path,case\nc.nii\n", "line 2: expected 2 columns as in the header, got 1"),
        ("path,case\n,1\n", "line 2: expected a path"),
        ("path,case,channel\nc.nii,,t1\n", "line 2: expected a case and a channel"),
        ("path,case,channel\nc.nii,a,t1\na/t1.nii,b,\n", "line 3: expected a case and a channel"),
        ("path\nc.nii\n./c.nii\n", r"line 3: expected one row per file, got two for ./c.nii"),
        ("path\nhttps://example.org/a.nii\n", "got the URL"),
        (b"path\n\xff\n", "expected a CSV file in UTF-8"),
    ],
    ids=str,
)
def test_files_that_are_not_such_tables(folder: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan(folder, text)


def test_options_that_exclude_a_table(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected no pattern"):
        scan(folder, "path\nc.nii\n", pattern="*.nii")
    with pytest.raises(ValueError, match="expected folders, or one CSV file"):
        dali_cr.scan([folder / "files.csv", folder], progress=False)
    with pytest.raises(ValueError, match="expected a column channel"):
        scan(folder, "path\nc.nii\n", channels=["t1"])
    os.remove(folder / "files.csv")
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        dali_cr.scan(folder / "files.csv", progress=False)
