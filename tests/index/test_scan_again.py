"""Test repeated scans: only changed files are read, and the result equals that of a fresh scan."""

import importlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.__main__ import main
from tests.helpers.volumes import write_nifti

scan_module = importlib.import_module("dali_cr.index.scan")


def volume(path: Path, seed: int = 0, shape: tuple[int, ...] = (7, 6, 5), **options: object) -> Path:
    return write_nifti(path, np.random.default_rng(seed).integers(0, 999, shape), **options)  # type: ignore[arg-type]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the path of each file read is appended."""
    paths: list[str] = []
    read = scan_module.read_volumes

    def spy(top: Path, path: str, **options: object) -> list[object]:
        paths.append(path)
        return list(read(top, path, **options))

    monkeypatch.setattr(scan_module, "read_volumes", spy)
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        volume(tmp_path / "data" / "images" / f"{i:02}.nii.gz", i, (7, 6, 5, 2) if i == 2 else (7, 6, 5))
        write_nifti(tmp_path / "data" / "labels" / f"{i:02}.nii.gz", np.arange(60).reshape(5, 4, 3) // 20)
    (tmp_path / "data" / "bad.nii").write_bytes(b"nothing")
    return tmp_path / "data"


def assert_same(one: dali_cr.Index, other: dali_cr.Index, tmp_path: Path) -> None:
    """Check that two indexes are equal."""
    one.save(tmp_path / "one.json")
    other.save(tmp_path / "other.json")
    assert (tmp_path / "one.json").read_text() == (tmp_path / "other.json").read_text()


def test_unchanged_files_are_not_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    first = dali_cr.scan(folder, progress=False)
    assert len(reads) == 9
    first.save(tmp_path / "index.json")
    reads.clear()
    again = dali_cr.scan(folder, known=dali_cr.Index.load(tmp_path / "index.json"), progress=False)
    assert reads == ["bad.nii"]
    assert_same(first, again, tmp_path)


def test_no_progress_is_shown_if_nothing_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.nii").unlink()
    known = dali_cr.scan(folder, progress=True)
    assert "8/8" in capsys.readouterr().err
    dali_cr.scan(folder, known=known, progress=True)
    assert capsys.readouterr().err == ""


def test_changed_files_are_read(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    known = dali_cr.scan(folder, progress=False)
    reads.clear()
    volume(folder / "images" / "00.nii.gz", 9)
    os.utime(folder / "images" / "01.nii.gz", ns=(5, 5))
    (folder / "images" / "03.nii.gz").unlink()
    volume(folder / "images" / "04.nii.gz", 10)
    again = dali_cr.scan(folder, known=known, progress=False)
    assert sorted(reads) == ["bad.nii", "images/00.nii.gz", "images/01.nii.gz", "images/04.nii.gz"]
    assert_same(dali_cr.scan(folder, progress=False), again, tmp_path)


def test_labels_included_later_are_not_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    known = dali_cr.scan(folder, progress=False)
    reads.clear()
    again = dali_cr.scan(folder, include="labels/*", known=known, progress=False)
    assert reads == ["bad.nii"]
    assert len(again) == len(known) + 4
    assert_same(dali_cr.scan(folder, include="labels/*", progress=False), again, tmp_path)


def test_other_ways_to_make_cases(folder: Path, tmp_path: Path) -> None:
    known = dali_cr.scan(folder, fourth_axis="cases", progress=False)
    again = dali_cr.scan(folder, known=known, progress=False)
    assert_same(dali_cr.scan(folder, progress=False), again, tmp_path)


def test_moved_data_are_not_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    known = dali_cr.scan(folder, progress=False)
    shutil.move(folder, tmp_path / "moved")
    reads.clear()
    again = dali_cr.scan(tmp_path / "moved", known=known, progress=False)
    assert reads == ["bad.nii"]
    assert again.fingerprint == known.fingerprint


def test_the_header_of_a_pair_is_read_again(tmp_path: Path) -> None:
    """Test it with the same size and modification time of both files as in the index."""
    import nibabel as nib

    def write(spacing: int) -> None:
        numbers = np.random.default_rng(0).integers(0, 999, (11, 4, 4)).astype(np.int16)
        nib.save(nib.Nifti1Pair(numbers, np.diag([spacing, spacing, spacing, 1])), tmp_path / "pair.hdr")
        for name in ("pair.hdr", "pair.img"):
            os.truncate(tmp_path / name, 352)
            os.utime(tmp_path / name, ns=(5, 5))

    write(spacing=1)
    known = dali_cr.scan(tmp_path, progress=False)
    write(spacing=2)
    again = dali_cr.scan(tmp_path, known=known, progress=False)
    assert again.cases[0].volumes[0].spacing == (2.0, 2.0, 2.0)


def test_changed_names_what_changed(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    assert index.changed() == ()
    (folder / "images" / "00.nii.gz").unlink()
    os.utime(folder / "images" / "01.nii.gz", ns=(5, 5))
    size = (folder / "images" / "03.nii.gz").stat().st_size
    os.truncate(folder / "images" / "03.nii.gz", 9)
    (folder / "labels" / "03.nii.gz").unlink()  # in no case
    assert [(p.path, p.reason) for p in index.changed()] == [
        ("images/00.nii.gz", "cannot be found any more: No such file or directory"),
        ("images/01.nii.gz", "changed since the scan: its modification time differs"),
        ("images/03.nii.gz", f"changed since the scan: {size} bytes then, 9 now"),
    ]


def test_the_command_line_reads_what_changed(
    folder: Path, tmp_path: Path, reads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["scan", str(folder), "--save", str(tmp_path / "index.json")]
    assert main(command) == 0
    assert len(reads) == 9
    volume(folder / "images" / "04.nii.gz", 10, (7, 6, 5, 2))
    reads.clear()
    assert main(command) == 0
    assert sorted(reads) == ["bad.nii", "images/04.nii.gz"]
    assert len(dali_cr.Index.load(tmp_path / "index.json")) == 5
    reads.clear()
    assert main([*command, "--fresh"]) == 0
    assert len(reads) == 10
    (tmp_path / "index.json").write_text("my notes")
    capsys.readouterr()
    assert main(command) == 2
    assert "--fresh" in capsys.readouterr().err
    assert (tmp_path / "index.json").read_text() == "my notes"
