"""Test `scan`: the files that it reads, how they form cases, and the reports on other files."""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from tests.helpers.volumes import write_nifti


def volume(path: Path, seed: int = 0, shape: tuple[int, ...] = (7, 6, 5), **options: object) -> Path:
    return write_nifti(path, np.random.default_rng(seed).integers(0, 999, shape), **options)  # type: ignore[arg-type]


def names(index: dali_cr.Index) -> list[str]:
    return [case.name for case in index.cases]


def test_every_suffix_sorted_and_relative(tmp_path: Path) -> None:
    for name in ("b.nii", "a/x.nii.gz", "a/y.NII", "c.txt", "a/é ü.nii", "a/new\nline.nii"):
        volume(tmp_path / name)
    index = dali_cr.scan(tmp_path, progress=False)
    assert names(index) == ["a/new\nline.nii", "a/x.nii.gz", "a/y.NII", "a/é ü.nii", "b.nii"]
    assert index.root == tmp_path
    assert index.channels == 1
    assert (index.problems, index.ignored) == ((), {".txt": 1})


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"pattern": "*.nii"}, ["top.nii"]),
        ({"pattern": "**/*.nii"}, ["a/im/1.nii", "a/seg/1.nii", "top.nii"]),
        ({"pattern": "a/*/1.nii"}, ["a/im/1.nii", "a/seg/1.nii"]),
        ({"pattern": ["*.nii", "a/im/?.nii"]}, ["a/im/1.nii", "top.nii"]),
        ({"exclude": "**/seg/*"}, ["a/im/1.nii", "b/2.nii.gz", "top.nii"]),
        ({"pattern": "top*", "include": ["b/*"]}, ["b/2.nii.gz", "top.nii"]),
        ({"pattern": "**/[12].ni[!x]*"}, ["a/im/1.nii", "a/seg/1.nii", "b/2.nii.gz"]),
    ],
    ids=str,
)
def test_patterns(tmp_path: Path, options: dict, wanted: list[str]) -> None:
    for name in ("top.nii", "a/im/1.nii", "a/seg/1.nii", "b/2.nii.gz"):
        volume(tmp_path / name)
    assert names(dali_cr.scan(tmp_path, progress=False, **options)) == wanted


def test_several_roots(tmp_path: Path) -> None:
    volume(tmp_path / "one" / "v.nii")
    volume(tmp_path / "two" / "v.nii")
    volume(tmp_path / "three" / "v.nii")
    index = dali_cr.scan([tmp_path / "two", tmp_path / "one"], progress=False)
    assert names(index) == ["one/v.nii", "two/v.nii"]
    assert index.root == tmp_path


def test_channels_by_pattern(tmp_path: Path) -> None:
    for case in ("p1", "p2", "p3"):
        for channel in ("T1", "FLAIR"):
            volume(tmp_path / case / f"{channel}.nii.gz", seed=hash(channel) % 100)
    (tmp_path / "p2" / "T1.nii.gz").unlink()
    volume(tmp_path / "p3" / "T1.nii.gz", shape=(7, 6, 4))
    index = dali_cr.scan(tmp_path, "{case}/{channel}.nii.gz", progress=False)
    assert names(index) == ["p1"]
    assert index.channel_names == ("FLAIR", "T1")
    assert [v.path for v in index.cases[0].volumes] == ["p1/FLAIR.nii.gz", "p1/T1.nii.gz"]
    reasons = {p.path: p.reason for p in index.problems}
    assert set(reasons) == {"p2/FLAIR.nii.gz", "p3/FLAIR.nii.gz", "p3/T1.nii.gz"}
    assert "channel T1 is missing" in reasons["p2/FLAIR.nii.gz"]
    assert "different grids" in reasons["p3/T1.nii.gz"]
    chosen = dali_cr.scan(tmp_path, "{case}/{channel}.nii.gz", channels=["T1"], progress=False)
    assert names(chosen) == ["p1", "p3"]


def test_channels_whose_affines_differ(tmp_path: Path) -> None:
    volume(tmp_path / "p" / "a.nii")
    volume(tmp_path / "p" / "b.nii", spacing=(1.0, 1.0, 1.5))
    index = dali_cr.scan(tmp_path, "{case}/{channel}.nii", progress=False)
    assert not index.cases
    assert "up to 2 mm away" in index.problems[0].reason


def test_other_orientation_is_the_same_grid(tmp_path: Path) -> None:
    volume(tmp_path / "p" / "a.nii")
    volume(tmp_path / "p" / "b.nii", orientation="RSA")
    index = dali_cr.scan(tmp_path, "{case}/{channel}.nii", progress=False)
    assert index.channels == 2 or "affines" in index.problems[0].reason
    canonical = [dali_cr.read_volume(tmp_path / "p" / f"{name}.nii") for name in "ab"]
    np.testing.assert_array_equal(*canonical)


def test_fourth_axis(tmp_path: Path) -> None:
    volume(tmp_path / "four.nii", shape=(7, 6, 5, 4))
    volume(tmp_path / "time.nii", shape=(7, 6, 5, 17))
    channels = dali_cr.scan(tmp_path, progress=False)
    assert names(channels) == ["four.nii"]
    assert len(channels.cases[0].volumes) == 4
    assert "at most 16 channels, got 17 frames" in channels.problems[0].reason
    cases = dali_cr.scan(tmp_path, fourth_axis="cases", progress=False)
    assert len(cases) == 21
    assert names(cases)[:2] == ["four.nii#0", "four.nii#1"]


def test_bad_files_are_named_with_the_reason(tmp_path: Path) -> None:
    volume(tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(volume(tmp_path / "x.nii.gz").read_bytes()[:-20])
    (tmp_path / "x.nii.gz").unlink()
    (tmp_path / "empty.nii").touch()
    (tmp_path / "text.nii").write_text("not a volume" * 100)
    index = dali_cr.scan(tmp_path, progress=False)
    assert names(index) == ["good.nii.gz"]
    assert [p.path for p in index.problems] == ["bad.nii.gz", "empty.nii", "text.nii"]


def test_link_loops_end(tmp_path: Path) -> None:
    volume(tmp_path / "a" / "v.nii")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    elsewhere = volume(tmp_path.parent / f"{tmp_path.name}-elsewhere" / "w.nii")
    os.symlink(elsewhere.parent, tmp_path / "linked")
    assert names(dali_cr.scan(tmp_path, progress=False)) == ["a/v.nii", "linked/w.nii"]


def test_missing_empty_and_foreign(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        dali_cr.scan(tmp_path / "gone", progress=False)
    with pytest.raises(FileNotFoundError, match="a file is there"):
        dali_cr.scan(volume(tmp_path / "v.nii"), progress=False)
    with pytest.raises(FileNotFoundError, match=r"that match \*.nii.gz .*, got 1 .nii outside the pattern"):
        dali_cr.scan(tmp_path, "*.nii.gz", progress=False)
    for wrong in (
        {"pattern": "{kind}.nii"},
        {"pattern": "{channel}.nii"},
        {"fourth_axis": "time"},
        {"channels": ["a"]},
    ):
        with pytest.raises(ValueError, match="expected"):
            dali_cr.scan(tmp_path, progress=False, **wrong)  # type: ignore[arg-type]


def test_any_executor_gives_the_same_index(tmp_path: Path) -> None:
    for i in range(5):
        volume(tmp_path / f"{i}.nii.gz", seed=i)
    here = dali_cr.scan(tmp_path, progress=False)
    with ProcessPoolExecutor(2) as executor:
        there = dali_cr.scan(tmp_path, executor=executor, progress=False)
    assert here.fingerprint == there.fingerprint
    assert [c.volumes[0].statistics for c in here.cases] == [c.volumes[0].statistics for c in there.cases]


def test_listed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for name in ("a/t1.nii.gz", "a/t2.nii.gz", "b/t1.nii.gz", "b/t2.nii.gz", "b/labels.nii.gz"):
        values = rng.integers(0, 3 if "labels" in name else 999, (6, 5, 4)).repeat(3, 0)
        write_nifti(tmp_path / name, values)
    (tmp_path / "notes.txt").write_text("no volume")
    listed = [tmp_path / "b" / "t1.nii.gz", tmp_path / "a" / "t1.nii.gz"]
    index = dali_cr.scan(files=listed, progress=False)
    assert index.root == tmp_path
    assert [case.name for case in index] == ["a/t1.nii.gz", "b/t1.nii.gz"]
    assert index.problems == ()
    assert dali_cr.scan(tmp_path, files=["a/t1.nii.gz", "b/t1.nii.gz"], progress=False).fingerprint == index.fingerprint
    monkeypatch.chdir(tmp_path / "b")
    one = dali_cr.scan(files=["labels.nii.gz"], progress=False)  # it was listed explicitly
    assert (one.root, [case.name for case in one]) == (tmp_path / "b", ["labels.nii.gz"])
    pairs = dali_cr.scan(tmp_path, "{case}/{channel}.nii.gz", files=["a/t1.nii.gz", "a/t2.nii.gz"], progress=False)
    assert [(case.name, len(case.volumes)) for case in pairs] == [("a", 2)]
    for options, error, message in (
        ({"files": []}, ValueError, "at least one"),
        ({"files": ["nothing.nii"]}, FileNotFoundError, "nothing is there"),
        ({"files": [tmp_path / "a"]}, FileNotFoundError, "a folder is there"),
        ({"files": ["../notes.txt"]}, ValueError, "volumes or images that match the pattern"),
        ({"files": ["t1.nii.gz"], "pattern": "*.png"}, ValueError, "volumes or images that match the pattern"),
        ({"files": ["t1.nii.gz", "../b/t1.nii.gz"]}, ValueError, "each file once"),
        ({"files": [tmp_path / "b" / "t1.nii.gz"], "root": tmp_path / "a"}, ValueError, "files under"),
        ({"files": ["t1.nii.gz"], "root": [tmp_path]}, ValueError, "one root"),
        ({"files": ["t1.nii.gz"], "exclude": "*"}, ValueError, "expected no layout, include or exclude"),
        ({}, ValueError, "a root or files"),
    ):
        with pytest.raises(error, match=message):
            dali_cr.scan(**options, progress=False)
