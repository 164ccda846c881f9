"""Test the table of a scan: properties, warnings and excluded files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.report import describe
from tests.helpers.volumes import write_nifti


def scan(folder: Path) -> dali_cr.Index:
    return dali_cr.scan(folder, progress=False)


def lines(index: dali_cr.Index) -> dict[str, list[str]]:
    """Return the lines of the table by name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in describe(index).splitlines():
        name = line[:12].strip() or name
        found.setdefault(name, []).append(line[13:])
    return found


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 999, (20, 16, 12))


def test_no_warnings(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers(), spacing=(1.0, 1.0, 1.4))
    write_nifti(tmp_path / "b.nii", numbers(1), spacing=(1.0, 1.0, 1.0))
    table = lines(scan(tmp_path))
    assert "warning" not in table
    assert "labels" not in table
    assert table["spacing"] == ["1 to 1.4 × 1 × 1 mm"]
    assert table["decompressed"] == ["0.0154 MB"]
    assert table["refused"] == ["0"]


def test_mixed_spacing(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers(), spacing=(1.0, 1.0, 3.0))
    write_nifti(tmp_path / "b.nii", numbers(1), spacing=(1.2, 1.0, 1.0))
    (warning,) = lines(scan(tmp_path))["warning"]
    assert warning.startswith("spacing along D differs by a factor of 3: equal crops in voxels differ in mm")


def test_nearly_empty_and_nan(tmp_path: Path) -> None:
    almost = np.zeros((20, 16, 12))
    almost[3, 3:6] = np.random.default_rng(0).permutation(36).reshape(3, 12)
    write_nifti(tmp_path / "almost.nii", almost)
    with_nan = numbers().astype(np.float32)
    with_nan[:2] = np.nan
    write_nifti(tmp_path / "nan.nii", with_nan, dtype="<f4")
    write_nifti(tmp_path / "sound.nii", numbers())
    empty, broken = lines(scan(tmp_path))["warning"]
    assert empty == "1 volume nearly empty; share of foreground: almost.nii 0.0091"
    assert broken == "1 volume with NaN or Inf; share of voxels: nan.nii 0.1"


def test_many_problems_of_one_kind_are_one_line(tmp_path: Path) -> None:
    write_nifti(tmp_path / "good.nii", numbers())
    for i in range(30):
        (tmp_path / f"empty{i:02}.nii").touch()
        write_nifti(tmp_path / "labels" / f"{i:02}.nii", np.arange(60).reshape(5, 4, 3) // 20)
    (tmp_path / "text.nii").write_text("no volume" * 99)
    table = lines(scan(tmp_path))
    assert len(table["labels"]) == 4
    assert table["labels"][0] == "30 excluded"
    assert table["labels"][-1].startswith("and 28 more of this kind")
    assert table["refused"][0] == "31"
    assert sum("empty file" in line for line in table["refused"]) == 8
    assert "text.nii: not a NIfTI file: its first four bytes are neither 348 nor 540" in table["refused"]


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


def test_copies_are_one_line(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 7), ("c", 7), ("d", 1)):
        write_nifti(tmp_path / f"{name}.nii", numbers(seed))
    write_nifti(tmp_path / "turned.nii.gz", numbers(), orientation="LPS", dtype="<f4")
    assert lines(scan(tmp_path))["copies"] == [
        "2 groups of cases with the same content, which a split keeps in one part: a.nii = turned.nii.gz; b.nii = c.nii"
    ]
    (tmp_path / "turned.nii.gz").unlink()
    (tmp_path / "c.nii").unlink()
    assert "copies" not in lines(scan(tmp_path))


def test_many_copies_are_counted(tmp_path: Path) -> None:
    for i in range(30):
        write_nifti(tmp_path / f"{i:02}.nii", numbers(i // 2))
    for i in range(9):
        write_nifti(tmp_path / f"more{i}.nii", numbers(0))
    (line,) = lines(scan(tmp_path))["copies"]
    assert line.startswith("15 groups of cases with the same content")
    assert "00.nii = 01.nii = more0.nii = more1.nii = more2.nii = more3.nii = more4.nii = more5.nii = 3 more;" in line
    assert line.endswith("14.nii = 15.nii; and 7 more")


def test_an_index_without_hashes_of_content_is_reported(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", numbers())
    index = scan(tmp_path)
    volume = replace(index.cases[0].volumes[0], content_sha256="")
    old = replace(index, cases=(replace(index.cases[0], volumes=(volume,)),))
    assert lines(old)["copies"] == ["unknown for 1 volume indexed by an earlier version; scan the data again"]


def test_one_image_as_two_channels_is_a_warning(tmp_path: Path) -> None:
    for name, seed in (("p1/t1", 5), ("p1/t2", 5), ("p2/t1", 6), ("p2/t2", 7)):
        write_nifti(tmp_path / f"{name}.nii", numbers(seed))
    index = dali_cr.scan(tmp_path, "{case}/{channel}.nii", progress=False)
    assert lines(index)["warning"] == ["two files of one case have the same content: p1"]
    assert "copies" not in lines(index)


@pytest.mark.parametrize(
    ("suffix", "size", "proposed"), [(".nii.gz", 2e9, True), (".nii.gz", 2e8, False), (".nii", 2e9, False)]
)
def test_packing_is_proposed_if_it_saves_much(tmp_path: Path, suffix: str, size: float, proposed: bool) -> None:
    """Test a CT of 512 × 512 × 256 int16, 134 MB, of which slightly more than half is read for a central crop."""
    write_nifti(tmp_path / f"a{suffix}", numbers())
    index = scan(tmp_path)
    volume = index.cases[0].volumes[0]
    large = replace(volume, size=int(size), geometry=replace(volume.geometry, shape=(256, 512, 512)))
    found = lines(replace(index, cases=(replace(index.cases[0], volumes=(large,)),)))
    assert ("pack" in found) == proposed
    if proposed:
        assert found["pack"] == [
            "reading a 64³ crop decompresses 83.9 MB of gzip on average, with brick stores 1.71 MB, "
            f"49 times less: dali-cr pack {tmp_path} OUT"
        ]
