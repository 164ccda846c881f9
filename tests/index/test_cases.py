"""`Index`: kept whole on disk, split without overlap, told apart by content."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.cases import refuse_empty
from tests.helpers.volumes import write_nifti


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(11):
        write_nifti(tmp_path / "data" / f"{i:02}.nii.gz", np.random.default_rng(i).integers(0, 99, (6, 5, 4)))
    (tmp_path / "data" / "bad.nii").write_bytes(b"")
    return tmp_path / "data"


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    index.save(tmp_path / "index.json")
    again = dali_cr.Index.load(tmp_path / "index.json")
    assert (again.root, again.problems, again.fingerprint) == (index.root, index.problems, index.fingerprint)
    for one, other in zip(index.cases, again.cases, strict=True):
        a, b = one.volumes[0], other.volumes[0]
        np.testing.assert_array_equal(a.foreground, b.foreground)
        for flags, others in zip(a.occupied, b.occupied, strict=True):
            np.testing.assert_array_equal(flags, others, strict=True)
        a, b = (replace(v, foreground=None, occupied=None) for v in (a, b))  # type: ignore[arg-type]
        assert a.__dict__ == b.__dict__


def test_data_may_move(folder: Path, tmp_path: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    index.save(tmp_path / "index.json")
    shutil.move(folder, tmp_path / "moved")
    moved = dali_cr.Index.load(tmp_path / "index.json", root=tmp_path / "moved")
    assert moved.root == tmp_path / "moved"
    assert moved.fingerprint == index.fingerprint


def test_fingerprint_is_of_the_content(folder: Path) -> None:
    before = dali_cr.scan(folder, progress=False).fingerprint
    write_nifti(folder / "03.nii.gz", np.arange(120).reshape(6, 5, 4))
    assert dali_cr.scan(folder, progress=False).fingerprint != before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "root": "", "cases": [{}]}'])
def test_refuses_foreign_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ValueError, match="index.json: no index of this version"):
        dali_cr.Index.load(tmp_path / "index.json")


@pytest.mark.parametrize("fractions", [(0.9, 0.1), (0.5, 0.5), (0.7, 0.2, 0.1), (1.0,), (0.98, 0.01, 0.01)], ids=str)
def test_split(folder: Path, fractions: tuple[float, ...]) -> None:
    index = dali_cr.scan(folder, progress=False)
    parts = index.split(fractions, seed=3)
    names = [{case.name for case in part.cases} for part in parts]
    assert set.union(*names) == {case.name for case in index.cases}
    assert sum(map(len, names)) == len(index)
    assert min(map(len, names)) >= 1
    assert all(abs(len(part) - f * len(index)) <= len(fractions) for part, f in zip(parts, fractions, strict=True))
    assert [case.name for case in parts[0].cases] == sorted(names[0])
    again = index.split(fractions, seed=3)
    assert [p.fingerprint for p in again] == [p.fingerprint for p in parts]


def test_splits_of_other_seeds_differ(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    assert len({index.split((0.5, 0.5), seed)[0].fingerprint for seed in range(5)}) == 5


def test_refuses_splits(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    for fractions in ((), (0.5, 0.4), (1.5, -0.5), (1.0, 0.0)):
        with pytest.raises(ValueError, match="fractions: wanted"):
            index.split(fractions)
    with pytest.raises(ValueError, match="at least 2 cases"):
        replace(index, cases=index.cases[:1]).split((0.9, 0.1))


def test_empty_and_mixed(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    with pytest.raises(ValueError, match=r"bad\.nii: empty file"):
        refuse_empty(replace(index, cases=()))
    both = replace(index.cases[0], volumes=index.cases[0].volumes * 2)
    with pytest.raises(ValueError, match="same number of channels, got 1 in .*, 2 in"):
        _ = replace(index, cases=(both, *index.cases[1:])).channels


def test_the_file_is_json(folder: Path, tmp_path: Path) -> None:
    dali_cr.scan(folder, progress=False).save(tmp_path / "index.json")
    assert json.loads((tmp_path / "index.json").read_text())["cases"][0]["volumes"][0]["path"] == "00.nii.gz"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []
