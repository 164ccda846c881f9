"""Test `dataset.json`: the forms of nnU-Net and the Decathlon, regions and their order, errors."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_cr.index.layout.dataset_json import Pair, find_dataset_json, read_dataset_json

BRATS = {
    "channel_names": {"1": "T1", "0": "FLAIR"},
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def write(folder: Path, content: object, name: str = "dataset.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_regions_of_nnunet(tmp_path: Path) -> None:
    found = read_dataset_json(write(tmp_path, BRATS))
    assert found.channels == ("FLAIR", "T1")
    assert found.regions
    assert (found.order, found.ignore) == ((1, 2, 3), 4)
    assert list(found.classes.items()) == [("whole tumor", (1, 2, 3)), ("core", (2, 3)), ("enhancing", (3,))]
    assert found.labels["background"] == (0,)


def test_the_decathlon(tmp_path: Path) -> None:
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    content = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": training,
        "test": ["./imagesTs/b.nii.gz"],
    }
    found = read_dataset_json(write(tmp_path, content))
    assert found.channels == ("FLAIR", "T1w")
    assert found.classes == {"liver": (1,), "cancer": (2,)}
    assert not found.regions
    assert (found.order, found.ignore) == ((), None)
    assert found.pairs == (Pair((tmp_path / "imagesTr/a.nii.gz",), tmp_path / "labelsTr/a.nii.gz"),)


def test_files_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/elsewhere")
    case = {"images": ["$WHERE/a_0.nii", "../a_1.nii"], "label": "/seg/a.nii"}
    found = read_dataset_json(write(tmp_path, {"labels": {"background": 0, "a": [1]}, "dataset": {"a": case}}))
    assert found.pairs == (Pair((Path("/elsewhere/a_0.nii"), tmp_path.parent / "a_1.nii"), Path("/seg/a.nii")),)
    assert found.classes == {"a": (1,)}
    assert not found.regions


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ('{"1": "liver"}', {"liver": (1,)}),
        ('{"liver": 1}', {"liver": (1,)}),
        ('{"liver": "1"}', {"liver": (1,)}),
        ('{"1": "2"}', {"2": (1,)}),
        ('{"labels": {"1": "liver"}}', {"liver": (1,)}),
        ('{"1": "kidney", "2": " kidney "}', {"kidney": (1, 2)}),
        ('{"kidney": 1, "tumour": 3, "kidney": 2}', {"kidney": (1, 2), "tumour": (3,)}),
        ('{"1": "caf\\u00e9", "2": "cafe\\u0301"}', {"café": (1, 2)}),
        ('{"0": "background"}', {}),
        ('{"modality": {"0": "CT"}}', {}),
    ],
)
def test_names(text: str, classes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    found = read_dataset_json(write(tmp_path, text, "names.json"))
    assert found.classes == classes
    assert not found.regions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"1": "liver", "1": "spleen"}', "label 1 has two names, 'liver' and 'spleen'"),
        ({"liver": 1, "spleen": 1}, "label 1 has two names"),
        ({"1": "Kidney", "2": "kidney"}, "'Kidney' and 'kidney'"),
        ({"0": "other", "1": "other"}, r"labels \[0, 1\] are all called 'other'"),
        ({"1": " "}, "expected a name"),
        ({"liver": 1.5}, "integer of at least 0, got 1.5"),
        ({"liver": True}, "integer of at least 0, got True"),
        ({"liver": -1}, "integer of at least 0, got -1"),
        ({"liver": []}, "expected a name and a number"),
        ([1], "expected a JSON object"),
        ("{", "Expecting"),
        ({"labels": [1]}, "expected an object"),
        ('{"labels": {}, "labels": {}}', "got it twice"),
        ({"channel_names": {"1": "CT"}}, "numbers from 0 on, got 1"),
        ({"labels": {"a": [0, 1]}}, "got 0, which is the background"),
        ('{"labels": {"a": [1, 2], "a": [1]}}', "'a' and 'a'"),
        (BRATS | {"regions_class_order": [1, 2]}, "expected a label for each of 3 regions"),
        (BRATS | {"regions_class_order": [1, 2, 2]}, r"one of \[3\] for 'enhancing', got 2"),
        (BRATS | {"regions_class_order": [3, 2, 3]}, "a label of 'whole tumor' only, got 3, of 'core' too"),
    ],
)
def test_refuses(content: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, content, "names.json")
    with pytest.raises(ValueError, match=message) as error:
        read_dataset_json(path)
    assert str(path) in str(error.value)


def test_is_found_next_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    assert find_dataset_json([tmp_path / "labelsTr"]) is None
    path = write(tmp_path, {})
    assert find_dataset_json([tmp_path / "labelsTr"]) == path
    inner = write(tmp_path / "labelsTr", {})
    assert find_dataset_json([tmp_path / "labelsTr"]) == inner


NAMES = st.text("abcdefgh", min_size=1, max_size=3)


@settings(deadline=None)
@given(names=st.dictionaries(st.integers(1, 255), NAMES, min_size=1))
def test_no_label_is_lost_in_either_form(names: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("names")
    by_number = {str(number): name for number, name in names.items()}
    by_name = "{" + ", ".join(f'"{name}": {number}' for number, name in names.items()) + "}"
    wanted = {name: tuple(sorted(n for n in names if names[n] == name)) for name in names.values()}
    for content in (by_number, by_name, {"labels": {"0": "background", **by_number}}):
        assert read_dataset_json(write(folder, content, "names.json")).classes == wanted


def test_a_dataset_json_of_something_else_names_no_label(tmp_path: Path) -> None:
    found = read_dataset_json(write(tmp_path, {"Name": "study", "DatasetVersion": "1.0.2", "Authors": ["A"]}))
    assert (found.labels, found.channels, found.pairs) == ({}, (), ())


@settings(deadline=None)
@given(nested=st.permutations(range(1, 6)))
def test_nnunets_own_rules_for_regions_hold(nested: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    manager = pytest.importorskip("nnunetv2.utilities.label_handling.label_handling").LabelManager
    labels = {"background": 0, **{f"r{n}": sorted(nested[n:]) for n in range(len(nested))}}
    found = read_dataset_json(
        write(tmp_path_factory.mktemp("regions"), {"labels": labels, "regions_class_order": list(nested)})
    )
    theirs = manager(labels, list(nested))
    assert [sorted(region) for region in theirs.foreground_regions] == [list(v) for v in found.classes.values()]
    assert list(found.order) == theirs.regions_class_order
