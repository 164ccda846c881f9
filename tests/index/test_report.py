"""The table of a folder: what it holds, what to beware of, and what was left out."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

import dali_cr
from dali_cr.index.report import describe
from tests.helpers.volumes import write_nifti


def scan(folder: Path) -> dali_cr.Index:
    return dali_cr.scan(folder, progress=False)


def lines(index: dali_cr.Index) -> dict[str, list[str]]:
    """Return the lines of the table by their name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in describe(index).splitlines():
        name = line[:12].strip() or name
        found.setdefault(name, []).append(line[13:])
    return found


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 999, (20, 16, 12))


def test_nothing_to_beware_of(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers(), spacing=(1.0, 1.0, 1.4))
    write_nifti(tmp_path / "b.nii", numbers(1), spacing=(1.0, 1.0, 1.0))
    table = lines(scan(tmp_path))
    assert "warning" not in table
    assert "labels" not in table
    assert table["spacing"] == ["1 to 1.4 × 1 × 1 mm"]
    assert table["inflated"] == ["0.0154 MB"]
    assert table["refused"] == ["0"]


def test_mixed_spacing(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers(), spacing=(1.0, 1.0, 3.0))
    write_nifti(tmp_path / "b.nii", numbers(1), spacing=(1.2, 1.0, 1.0))
    (warning,) = lines(scan(tmp_path))["warning"]
    assert warning.startswith("spacing along D differs by a factor of 3: volumes mixed in voxels differ in mm")


def test_nearly_empty_and_nan(tmp_path: Path) -> None:
    almost = np.zeros((20, 16, 12))
    almost[3, 3:6] = np.random.default_rng(0).permutation(36).reshape(3, 12)
    write_nifti(tmp_path / "almost.nii", almost)
    with_nan = numbers().astype(np.float32)
    with_nan[:2] = np.nan
    write_nifti(tmp_path / "nan.nii", with_nan, dtype="<f4")
    write_nifti(tmp_path / "sound.nii", numbers())
    empty, broken = lines(scan(tmp_path))["warning"]
    assert empty == "1 volume nearly empty, by the share of foreground: almost.nii 0.0091"
    assert broken == "1 volume with NaN or Inf, by their share: nan.nii 0.1"


def test_many_problems_of_one_kind_are_told_once(tmp_path: Path) -> None:
    write_nifti(tmp_path / "good.nii", numbers())
    for i in range(30):
        (tmp_path / f"empty{i:02}.nii").touch()
        write_nifti(tmp_path / "labels" / f"{i:02}.nii", np.arange(60).reshape(5, 4, 3) // 20)
    (tmp_path / "text.nii").write_text("no volume" * 99)
    table = lines(scan(tmp_path))
    assert len(table["labels"]) == 4
    assert table["labels"][0] == "30 set aside"
    assert table["labels"][-1].startswith("and 28 more of this kind")
    assert table["refused"][0] == "31"
    assert sum("empty file" in line for line in table["refused"]) == 8
    assert "text.nii: no NIfTI header (its first four bytes are neither 348 nor 540)" in table["refused"]


def test_names_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    for name in ("new\nline.nii", "\x1b[31mred.nii", os.fsdecode(b"latin-\xe9.nii")):
        (tmp_path / name).touch()
    write_nifti(tmp_path / "é.nii", numbers())
    table = lines(scan(tmp_path))
    assert sorted(table["refused"]) == [
        "3",
        r"\x1b[31mred.nii: empty file",
        r"latin-\udce9.nii: empty file",
        r"new\nline.nii: empty file",
    ]


def test_an_index_without_cases(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers())
    table = lines(replace(scan(tmp_path), cases=()))
    assert (table["cases"], table["shape"]) == (["0"], [""])
