"""Classes and regions of label volumes, named by a given file or by a dataset.json beside the data."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dali_cr.index.layout.dataset_json import DatasetJson
from tests.helpers.finetuning import classify, localize, prepared, segment
from tests.helpers.images import segment as segment_images
from tests.helpers.images import write_images
from tests.helpers.png import write_png
from train import finetune
from train.data.classes import find_classes, find_names
from train.finetune import Refused, introduce
from train.tasks.segment import Segmentation
from train.tasks.task import TaskInput

pytestmark = pytest.mark.usefixtures("one_thread")
REGIONS = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "lungs": [2, 3], "all": [1, 2, 3], "left lung": 3},
    "regions_class_order": [2, 1, 3],
}


def named(regions: bool = False, order: tuple[int, ...] = (), **labels: tuple[int, ...]) -> DatasetJson:
    return DatasetJson(Path("names.json"), labels=labels, regions=regions, order=order)


def found(train: list[int], val: list[int] | None = None) -> dict[str, dict[str, list[int]]]:
    return {"train": {"a": [0, *train]}, "val": {"b": [0, *(val or [])]}, "test": {}}


def test_two_labels_of_one_name_are_one_class() -> None:
    classes = find_classes(found([1, 2, 3]), named(kidney=(1, 2), liver=(3,)))
    assert (classes.members, classes.values) == ({"kidney": [1, 2], "liver": [3]}, [1, 3])
    # One of them in train is enough.
    assert find_classes(found([2], [1]), named(kidney=(1, 2))).members == {"kidney": [1, 2]}


def test_labels_without_a_name_are_called_by_their_number() -> None:
    classes = find_classes(found([1, 4, 2]), named(tumour=(4,), liver=(1,)))
    assert classes.members == {"liver": [1], "label 2": [2], "tumour": [4]}
    assert find_classes(found([2]), None).members == {"label 2": [2]}
    with pytest.raises(ValueError, match=r"another name for \[1\]: label 2, which has no name"):
        find_classes(found([1, 2]), named(**{"label 2": (1,)}))
    with pytest.raises(ValueError, match="'Label 2' and 'label 2'"):
        find_classes(found([1, 2]), named(**{"Label 2": (1,)}))


def test_named_classes_that_no_case_has_are_told() -> None:
    classes = find_classes(found([1]), named(liver=(1,), tumour=(2,)))
    assert classes.members == {"liver": [1]}
    assert classes.notes == ("names of names.json: liver=1", "in no case: tumour")


def test_regions_keep_their_order_and_what_they_are_written_as() -> None:
    regions = named(True, (1, 2, 3), whole=(1, 2, 3), core=(2, 3), enhancing=(3,))
    classes = find_classes(found([1, 2, 3]), regions)
    assert classes.regions
    assert classes.members == {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    assert classes.values == [1, 2, 3]
    assert classes.notes == ("regions of names.json: whole=1+2+3, core=2+3, enhancing=3, written as 1, 2, 3",)
    fewer = find_classes(found([1, 2]), regions)
    assert (list(fewer.members), fewer.values) == (["whole", "core"], [1, 2])
    assert "in no case: enhancing" in fewer.notes
    without = find_classes(found([1, 2, 3]), named(True, whole=(1, 2, 3), core=(2, 3)))
    assert without.values == [1, 2]


@pytest.mark.parametrize(
    ("train", "val", "names", "says"),
    [
        ([], [1], None, "some case of train, got none"),
        ([1], [2], None, "label 2 is in b of val and in no case of train"),
        ([1], [2], named(a=(1,), b=(2,)), "label 2 is in b of val and in no case of train"),
        ([1], [2], named(True, (1, 2), a=(1, 2), b=(2,)), "label 2 is in b of val"),
        ([1, 5], [], named(True, (1, 2), a=(1, 2), b=(2,)), "labels of a region of names.json, got 5"),
        ([1, 2], [], named(a=(1,), ignore=(2,)), "label 2 is the ignore label of names.json"),
        ([1, 2], [], named(True, core=(2,), whole=(1, 2)), "every label of core is also in a later region"),
    ],
)
def test_refuses(train: list[int], val: list[int], names: DatasetJson | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        find_classes(found(train, val), names)


def test_typed_regions_go_first() -> None:
    classes = find_classes(found([1, 2]), named(a=(1,), b=(2,)), ["both=1+2", "2"])
    assert (classes.members, classes.values, classes.regions) == ({"both": [1, 2], "2": [2]}, [1, 2], True)
    with pytest.raises(ValueError, match="'both' and 'both'"):
        find_classes(found([1, 2]), None, ["both=1+2", "both=2"])
    with pytest.raises(ValueError, match="label 2 is in b of val"):
        find_classes(found([1], [2]), None, ["1"])
    with pytest.raises(ValueError, match="label 2 is the ignore label"):
        find_classes(found([1, 2]), named(a=(1,), ignore=(2,)), ["1"])


@settings(deadline=None)
@given(order=st.permutations(range(1, 5)), seed=st.integers(0, 2**32 - 1))
def test_regions_are_written_as_nnunet_does(order: list[int], seed: int) -> None:
    manager = pytest.importorskip("nnunetv2.utilities.label_handling.label_handling").LabelManager
    labels = {f"r{place}": tuple(sorted(order[place:])) for place in range(len(order))}
    classes = find_classes(found(order), named(True, tuple(order), **labels))
    members = list(classes.members.values())
    task = Segmentation(
        list(classes.members),
        TaskInput(crop=(4, 4, 4), normalize=None),
        members=members,
        values=classes.values,
        regions=True,
    )
    answer = torch.randn((len(order), 4, 4, 4), generator=torch.Generator().manual_seed(seed))
    theirs = manager({"background": 0, **labels}, list(order)).convert_logits_to_segmentation(answer)
    np.testing.assert_array_equal(task.decoder.decode(answer), theirs.numpy())


@pytest.fixture
def beside(data: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may change."""
    return Path(shutil.copytree(data, tmp_path / "data"))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("place", ["dataset.json", "labels/dataset.json", "images/dataset.json"])
def test_regions_beside_the_data_are_used_unasked(beside: Path, place: str, tmp_path: Path) -> None:
    write_json(
        beside / place,
        REGIONS
        | {"labels": {"all": [1, 2, 3], "lungs": [2, 3], "left": 3, "background": 0}}
        | {"regions_class_order": [1, 2, 3]},
    )
    run = prepared(segment(beside, tmp_path / "run", names=None))
    assert isinstance(run.task, Segmentation)
    assert run.task.about == {
        "classes": ["all", "lungs", "left"],
        "members": [[1, 2, 3], [2, 3], [3]],
        "values": [1, 2, 3],
        "regions": True,
        "absent": "empty",
    }
    lines = [line for line in introduce(run) if line.startswith("labels ")]
    assert lines == [f"labels     regions of {beside / place}: all=1+2+3, lungs=2+3, left=3, written as 1, 2, 3"]


def test_what_is_typed_goes_before_what_lies_beside(beside: Path, tmp_path: Path) -> None:
    write_json(beside / "dataset.json", {"labels": {"0": "background", "1": "a", "2": "b", "3": "c"}})
    assert prepared(segment(beside, tmp_path / "1", names=None)).task.classes == ["a", "b", "c"]
    assert prepared(segment(beside, tmp_path / "2")).task.classes == ["trunk", "right lung", "left lung"]
    assert prepared(segment(beside, tmp_path / "3", names=None, regions=("x=1+2+3", "3"))).task.classes == ["x", "3"]


def test_a_dataset_json_that_cannot_be_used_is_refused(beside: Path, tmp_path: Path) -> None:
    write_json(beside / "dataset.json", REGIONS)
    with pytest.raises(ValueError, match="expected a label of 'lungs' only, got 2, of 'all' too; give another file"):
        find_names(None, beside / "labels", [])
    write_json(beside / "dataset.json", {"labels": {}})
    with pytest.raises(ValueError, match="names no label"):
        find_names(beside / "dataset.json", beside / "labels", [])
    regions = {"labels": {"all": [1, 2, 3], "lungs": [2, 3]}, "regions_class_order": [1, 2]}
    write_json(beside / "dataset.json", regions)
    with pytest.raises(ValueError, match="absent: expected empty with regions"):
        prepared(segment(beside, tmp_path / "run", names=None, absent="unlabelled"))


def test_the_decathlons_pairs_tell_which_label_is_whose(beside: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (beside / "labels").iterdir())
    before = prepared(segment(beside, tmp_path / "1"))
    for number, name in enumerate(names):
        (beside / "labels" / name).rename(beside / "labels" / f"seg{number}.nii.gz")
    # Labels called as another case's image would be mistaken for it.
    (beside / "labels" / "seg0.nii.gz").rename(beside / "labels" / names[1])
    (beside / "labels" / "seg1.nii.gz").rename(beside / "labels" / names[0])
    called = {names[0]: names[1], names[1]: names[0]}
    called |= {name: f"seg{number}.nii.gz" for number, name in enumerate(names[2:], 2)}
    training = [{"image": f"./images/{image}", "label": f"./labels/{label}"} for image, label in called.items()]
    labels = {"0": "background", "1": "trunk", "2": "right lung", "3": "left lung"}
    write_json(beside / "dataset.json", {"modality": {"0": "CT"}, "labels": labels, "training": training})
    after = prepared(segment(beside, tmp_path / "2", names=None))
    assert after.task.fingerprint == before.task.fingerprint
    pairs = [training[0], {**training[1], "image": training[0]["image"]}]
    write_json(beside / "dataset.json", {"labels": labels, "training": pairs})
    with pytest.raises(ValueError, match="expected one label per case, .* both belong to"):
        prepared(segment(beside, tmp_path / "3", names=None))
    pairs = [training[0], {**training[1], "label": training[0]["label"]}]
    write_json(beside / "dataset.json", {"labels": labels, "training": pairs})
    with pytest.raises(ValueError, match="expected one case per label, .* is paired with"):
        prepared(segment(beside, tmp_path / "4", names=None))


def test_boxes_of_regions_are_around_all_of_them(beside: Path, tmp_path: Path) -> None:
    write_json(beside / "dataset.json", {"labels": {"1": "trunk", "2": "lung", "3": "lung"}})
    run = prepared(localize(beside, tmp_path / "run", names=None))
    assert run.task.classes == ["trunk", "lung"]
    for case, boxes in zip(run.training.cases, run.task._training, strict=True):
        labels = nib.as_closest_canonical(nib.load(beside / "labels" / case.name)).get_fdata().transpose(2, 1, 0)
        hit = np.argwhere(labels > 1)
        np.testing.assert_array_equal(boxes[1], [hit.min(0), hit.max(0) + 1])


def test_masks_of_few_bits_are_classes_by_their_numbers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    for number, path in enumerate(sorted((folder / "masks").iterdir())):
        numbers = np.zeros((28, 44), np.uint8)
        numbers[4:10, 4:20], numbers[12:20, 4:20] = 1, (1 if number % 4 == 0 else 2)
        write_png(path, numbers, (1, 2, 4, 8)[number % 4])
    run = prepared(segment_images(folder, tmp_path / "run"))
    assert run.task.about["members"] == [[1], [2]]
    for path in (folder / "masks").iterdir():
        write_png(path, np.pad(np.full((8, 8), 255 if path.name > "003" else 1), 10), 8 if path.name > "003" else 1)
    shutil.rmtree(folder / "images")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for path in sorted((folder / "masks").iterdir()):
        noise = rng.integers(0, 256, (28, 28))
        write_png(folder / "images" / path.name, noise, 8)
    with pytest.raises(ValueError, match="has at most 1 where 00"):
        prepared(segment_images(folder, tmp_path / "other"))


def test_jpeg_masks_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data")
    for path in sorted((folder / "masks").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"), quality=90)
    with pytest.raises(ValueError, match=r"000.jpg: a JPEG cannot hold labels"):
        prepared(segment_images(folder, tmp_path / "run", label_pattern=("*.jpg",)))
    assert not (tmp_path / "run").exists()


def test_both_kidneys_are_learnt_and_written(beside: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "names.json", {"1": "trunk", "2": "kidney", "3": "kidney"})
    run = prepared(segment(beside, tmp_path / "run", names=tmp_path / "names.json"))
    assert dict(zip(run.task.classes, run.task.members, strict=True)) == {"trunk": [1], "kidney": [2, 3]}
    case = run.training.cases[0]
    labels = nib.as_closest_canonical(nib.load(beside / "labels" / case.name)).get_fdata().transpose(2, 1, 0)
    np.testing.assert_array_equal(run.task.masks(run.task.read(case))[1], labels > 1)
    answer = torch.zeros(3, 1, 1, 3)
    answer[[0, 1, 2], 0, 0, [0, 1, 2]] = 1
    assert run.task.decoder.decode(answer).ravel().tolist() == [0, 1, 2]


def test_other_regions_are_another_run(beside: Path, tmp_path: Path) -> None:
    regions = {"labels": {"all": [1, 2, 3], "lungs": [2, 3]}, "regions_class_order": [1, 2]}
    write_json(beside / "dataset.json", regions)
    finetune.main(segment(beside, tmp_path / "run", names=None, steps=1))
    write_json(beside / "dataset.json", regions | {"labels": {"all": [1, 2], "lungs": [2, 3]}})
    with pytest.raises(Refused, match="got other classes"):
        finetune.main(segment(beside, tmp_path / "run", names=None, steps=2, resume=True))
    # What earlier versions did not write down is not compared.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["fingerprints"]["classes"]
    write_json(tmp_path / "run" / "config.json", config)
    write_json(beside / "dataset.json", regions)
    finetune.main(segment(beside, tmp_path / "run", names=None, steps=2, resume=True))


def rewrite(path: Path, change: Any) -> None:
    """Rewrite the rows of a CSV file."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(change(rows))


def test_cases_without_a_class_are_left_out_and_counted(beside: Path, tmp_path: Path) -> None:
    def blank(rows: list[list[str]]) -> list[list[str]]:
        rows[1][1] = rows[2][1] = " "
        return [*rows, ["no image.nii.gz", "", "0", "1"], ["", "", "", ""]]

    rewrite(beside / "classes.csv", blank)
    write_json(beside / "splits.json", {"train": [f"case{n}" for n in range(9)], "val": [], "test": []})
    run = prepared(classify(beside, tmp_path / "run", split=None, fractions=(0.4, 0.3, 0.3)))
    assert run.task.classes == ["even", "odd"]
    assert len(run.supervised.cases) == 6
    text = "\n".join(introduce(run))
    assert "labels     1 row of classes.csv without a value: skipped" in text
    assert "labels     3 rows of classes.csv with a missing value: skipped" in text
    assert text.count("image of an empty row") == 2


def test_boxes_that_are_missing_are_counted(beside: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (beside / "images").iterdir())
    ends = [f"{organ}_{end}{axis}" for organ in ("liver", "spleen") for end in ("lo", "hi") for axis in "ijk"]
    rows = [["", "file", *ends], *([str(n), name, *"123456123456"] for n, name in enumerate(names))]
    rows[1][2:] = [""] * 12
    rows[2][2:8] = ["nan"] * 6
    with open(beside / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    split = {"split": None, "fractions": (0.4, 0.3, 0.3)}
    run = prepared(localize(beside, tmp_path / "run", labels=beside / "boxes.csv", names=None, **split))
    assert len(run.supervised.cases) == 7
    assert [line for line in introduce(run) if line.startswith(("labels ", "excluded"))] == [
        f"excluded   {names[0]}: image of an empty row of boxes",
        "labels     column 1, without a name, of boxes.csv numbers the rows: skipped",
        "labels     not contoured, of 7 rows: liver in 1",
        "labels     1 row of boxes.csv with a missing value: skipped",
    ]


def test_columns_of_pandas_floats_are_flags(beside: Path, tmp_path: Path) -> None:
    rewrite(beside / "classes.csv", lambda rows: [rows[0], *([r[0], r[1], f"{r[2]}.0", r[3]] for r in rows[1:])])
    run = prepared(classify(beside, tmp_path / "run", columns=("even", "third"), multilabel=True))
    before = prepared(classify(beside, tmp_path / "before", columns=("third", "even"), multilabel=True))
    assert run.task.classes == before.task.classes[::-1]
    rewrite(beside / "classes.csv", lambda rows: [rows[0], [*rows[1][:2], "2", rows[1][3]], *rows[2:]])
    with pytest.raises(ValueError, match="expected 0 or 1 for each class .* got '2'"):
        prepared(classify(beside, tmp_path / "two", columns=("even", "third"), multilabel=True))
