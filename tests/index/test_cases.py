"""Test `Index`: saving, splits, subsets, fingerprints and copies."""

import hashlib
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index: expected a file of .*none.json does not exist"):
        dali_cr.Index.load(tmp_path / "none.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "root": "", "cases": [{}]}'])
def test_refuses_foreign_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ValueError, match="index.json: expected an index of this version"):
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
        with pytest.raises(ValueError, match="fractions: expected"):
            index.split(fractions)
    with pytest.raises(ValueError, match="at least 2 cases"):
        replace(index, cases=index.cases[:1]).split((0.9, 0.1))


def test_empty_and_mixed(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    with pytest.raises(ValueError, match=r"bad\.nii: empty file"):
        refuse_empty(replace(index, cases=()))
    both = replace(index.cases[0], volumes=index.cases[0].volumes * 2)
    with pytest.raises(
        ValueError, match="same number of channels, got 1 in .*, 2 in .*; exclude some, or with fourth_axis"
    ):
        _ = replace(index, cases=(both, *index.cases[1:])).channels


def test_the_file_is_json(folder: Path, tmp_path: Path) -> None:
    dali_cr.scan(folder, progress=False).save(tmp_path / "index.json")
    assert json.loads((tmp_path / "index.json").read_text())["cases"][0]["volumes"][0]["path"] == "00.nii.gz"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def old_format(path: Path, out: Path) -> Path:
    """Rewrite a saved index as in an earlier version, without hashes of the content."""
    content = json.loads(path.read_text())
    for volume in [*content["set_aside"], *(v for case in content["cases"] for v in case["volumes"])]:
        del volume["content_sha256"]
    out.write_text(json.dumps({**content, "format": 3}))
    return out


def test_an_index_of_an_earlier_version_is_completed_by_a_scan(folder: Path, tmp_path: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    index.save(tmp_path / "index.json")
    old = dali_cr.Index.load(old_format(tmp_path / "index.json", tmp_path / "old.json"))
    assert old.fingerprint == index.fingerprint
    assert {volume.content_sha256 for case in old.cases for volume in case.volumes} == {""}
    assert old.copies == ()
    again = dali_cr.scan(folder, known=old, progress=False)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "index.json").read_text()
    old.save(tmp_path / "old_again.json")
    assert dali_cr.Index.load(tmp_path / "old_again.json").fingerprint == index.fingerprint


def test_the_fingerprint_is_what_it_was_before_there_were_hashes_of_content(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    names = [(case.name, [(v.path, v.frame, v.sha256) for v in case.volumes]) for case in index.cases]
    assert index.fingerprint == hashlib.sha256(json.dumps(names).encode()).hexdigest()


def with_copies(folder: Path) -> dali_cr.Index:
    """Return an index with copies: 00, 04 and a flipped float32 version; 01 and 02."""
    write_nifti(folder / "04.nii", np.random.default_rng(0).integers(0, 99, (6, 5, 4)), orientation="LPS")
    (folder / "04.nii.gz").unlink()
    numbers = np.random.default_rng(0).integers(0, 99, (6, 5, 4))
    write_nifti(folder / "float.nii.gz", numbers, dtype=">f4", orientation="SAR", slope=1.0)
    shutil.copy(folder / "01.nii.gz", folder / "02.nii.gz")
    return dali_cr.scan(folder, progress=False)


def test_copies_are_found(folder: Path) -> None:
    index = with_copies(folder)
    assert index.copies == (("00.nii.gz", "04.nii", "float.nii.gz"), ("01.nii.gz", "02.nii.gz"))


def test_cases_that_share_one_channel_are_copies(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    a, b, c, d = (case.volumes[0] for case in index.cases[:4])
    cases = [dali_cr.index.cases.Case(name, pair) for name, pair in (("x", (a, b)), ("y", (c, d)), ("z", (b, c)))]
    assert replace(index, cases=tuple(cases)).copies == (("x", "y", "z"),)


@pytest.mark.parametrize("seed", range(8))
def test_copies_and_cases_that_belong_together_are_in_one_part(folder: Path, seed: int) -> None:
    index = with_copies(folder)
    pair = ["02.nii.gz", "07.nii.gz"]
    parts = index.split((0.5, 0.3, 0.2), seed, together=[pair, ["05.nii.gz"]])
    names = [{case.name for case in part.cases} for part in parts]
    assert sorted(name for part in names for name in part) == sorted(case.name for case in index.cases)
    for group in (*index.copies, ["01.nii.gz", *pair]):
        assert sum(bool(part & set(group)) for part in names) == 1
    assert all(names)


def test_together_may_leave_too_few(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    names = [case.name for case in index.cases]
    with pytest.raises(ValueError, match="at least 2 cases .* got 1, as some of the 11 stay together"):
        index.split((0.5, 0.5), together=[names])
    with pytest.raises(ValueError, match="together: expected names of cases, got 'x'"):
        index.split((0.5, 0.5), together=[["x"]])


def test_subsets_and_slices(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    assert [case.name for case in index] == [f"{i:02}.nii.gz" for i in range(11)]
    assert index[3] is index.cases[3]
    for some, wanted in (
        (index[:3], [0, 1, 2]),
        (index[-2:], [9, 10]),
        (index[1::4], [1, 5, 9]),
        (index[20:], []),
        (index.subset(["07.nii.gz", "02.nii.gz"]), [2, 7]),
        (index.subset(lambda case: case.name > "08"), [8, 9, 10]),
        (index.subset([]), []),
    ):
        assert some.cases == tuple(index.cases[i] for i in wanted)
        assert (some.root, some.problems, some.set_aside) == (index.root, (), ())
    with pytest.raises(ValueError, match="expected names of cases, got '7', '8', 'a' and 1 more"):
        index.subset(["8", "7", "07.nii.gz", "a", "b"])
    with pytest.raises(ValueError, match=r"got the string '07.nii.gz'; use \['07.nii.gz'\]"):
        index.subset("07.nii.gz")
    with pytest.raises(IndexError):
        index[11]


def test_reprs_are_short(folder: Path) -> None:
    index = dali_cr.scan(folder, progress=False)
    assert repr(index) == f"Index({str(folder)!r}, 11 cases, 1 problem)"
    assert repr(index[:1]) == f"Index({str(folder)!r}, 1 case)"
    assert repr(index[0]) == "Case('00.nii.gz', 1 channel, 4 × 5 × 6)"
    assert repr(index[0].volumes[0]) == "Volume('00.nii.gz', int16, 4 × 5 × 6)"
