"""Several data sets in one index: joined, described, saved, taken apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dali_cr
from dali_cr.index.corpus.about import dataset_lines, describe_datasets
from dali_cr.index.report import describe
from tests.helpers.volumes import write_nifti


def write_set(folder: Path, count: int, first: int = 0) -> dali_cr.Index:
    for i in range(count):
        write_nifti(folder / f"{i}.nii.gz", np.random.default_rng(first + i).integers(0, 99, (6, 5, 4)))
    return dali_cr.scan(folder, progress=False)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dali_cr.Index]:
    top = tmp_path_factory.mktemp("corpus")
    (top / "far" / "b").mkdir(parents=True)
    (top / "far" / "b" / "bad.nii").write_bytes(b"")
    (top / "far" / "b" / "note.txt").write_text("")
    return {"brains": write_set(top / "a", 5), "cts": write_set(top / "far" / "b", 3, first=10)}


@pytest.fixture(scope="module")
def joined(indexes: dict[str, dali_cr.Index]) -> dali_cr.Index:
    return dali_cr.Index.concat(indexes, modality={"brains": "MR", "cts": "CT"}, licence="CC0-1.0")


def test_cases_know_their_data_set(joined: dali_cr.Index, indexes: dict[str, dali_cr.Index]) -> None:
    assert [case.name for case in joined] == [f"brains/{i}.nii.gz" for i in range(5)] + [
        f"cts/{i}.nii.gz" for i in range(3)
    ]
    assert [case.dataset for case in joined] == ["brains"] * 5 + ["cts"] * 3
    assert joined.changed() == ()
    assert [problem.path for problem in joined.problems] == ["far/b/bad.nii"]
    assert joined.ignored == {".txt": 1}
    assert joined.datasets == {"brains": "a", "cts": "far/b"}
    assert repr(joined).endswith("8 cases of 2 data sets, 1 problem)")
    cts = joined.dataset("cts")
    assert cts.fingerprint == indexes["cts"].fingerprint
    assert (cts.root, cts.problems) == (indexes["cts"].root, indexes["cts"].problems)


def test_saved_split_and_moved(joined: dali_cr.Index, tmp_path: Path) -> None:
    joined.save(tmp_path / "index.json")
    again = dali_cr.Index.load(tmp_path / "index.json")
    texts = [(case.name, case.dataset, case.modality, case.licence) for case in joined]
    assert [(case.name, case.dataset, case.modality, case.licence) for case in again] == texts
    assert (again.fingerprint, again.datasets) == (joined.fingerprint, joined.datasets)
    for part in (*joined.split((0.5, 0.5)), joined[:6], joined.subset(lambda case: case.dataset == "cts")):
        assert part.datasets == joined.datasets
        assert all(case.name.startswith(f"{case.dataset}/") for case in part)


def test_the_fingerprint_does_not_tell_where_data_sets_lie(joined: dali_cr.Index, tmp_path: Path) -> None:
    moved = {"brains": write_set(tmp_path / "x" / "y" / "z", 5), "cts": write_set(tmp_path / "b", 3, first=10)}
    assert dali_cr.Index.concat(moved).fingerprint == joined.fingerprint
    renamed = dali_cr.Index.concat({"heads": moved["brains"], "cts": moved["cts"]})
    assert renamed.fingerprint != joined.fingerprint


def test_modalities_and_licences_are_counted(joined: dali_cr.Index) -> None:
    assert describe_datasets(joined)[1] == {
        "name": "cts",
        "cases": 3,
        "modalities": {"CT": 3},
        "licences": {"CC0-1.0": 3},
    }
    assert dataset_lines(joined) == ["brains: 5 cases; MR; CC0-1.0", "cts: 3 cases; CT; CC0-1.0"]
    assert "data set     brains: 5 cases; MR; CC0-1.0" in describe(joined)


def test_a_csv_file_has_modalities_and_licences(indexes: dict[str, dali_cr.Index]) -> None:
    folder = indexes["brains"].root
    (folder / "files.csv").write_text("path,modality,license\n0.nii.gz,T1,CC0\n1.nii.gz,,\n")
    index = dali_cr.scan(folder / "files.csv", progress=False)
    assert [(case.modality, case.licence) for case in index] == [("T1", "CC0"), ("", "")]
    assert dataset_lines(index) == ["2 cases; T1 (1), not stated (1); CC0 (1), not stated (1)"]
    both = dali_cr.Index.concat({"a": index}, modality="MR")
    assert [case.modality for case in both] == ["T1", "MR"]


def test_data_sets_within_one_stay_in_the_names(joined: dali_cr.Index, indexes: dict[str, dali_cr.Index]) -> None:
    both = dali_cr.Index.concat({"old": joined, "new": indexes["cts"]})
    assert list(both.datasets) == ["old", "new"]
    assert (both[0].name, both[0].dataset) == ("old/brains/0.nii.gz", "old")
    assert both.changed() == ()


def test_what_cannot_be_joined(indexes: dict[str, dali_cr.Index]) -> None:
    one = indexes["cts"]
    two = replace(one, cases=tuple(replace(case, volumes=case.volumes * 2) for case in one.cases))
    named = [replace(two, channel_names=names) for names in (("t1", "t2"), ("t2", "t1"))]
    for wrong, message in (
        ({}, "at least one data set, got none"),
        ({"a/b": one}, "a name without '/'"),
        ({"a": one, "b": one[:0]}, "in each data set, b has none"),
        ({"a": one, "b": two}, "got 1 in a, 2 in b"),
        (dict(zip("ab", named, strict=True)), "got t1, t2 in a; t2, t1 in b"),
    ):
        with pytest.raises(ValueError, match=message):
            dali_cr.Index.concat(wrong)
    with pytest.raises(ValueError, match="modality: expected names of the data sets cts, got 'ct'"):
        dali_cr.Index.concat({"cts": one}, modality={"ct": "CT"})
    with pytest.raises(ValueError, match="dataset: expected one of brains, cts, got 'ct'"):
        dali_cr.Index.concat(indexes).dataset("ct")
