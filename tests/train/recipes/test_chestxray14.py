"""Test the recipe for ChestX-ray14 on images of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.chestxray14.prepare import FINDINGS, PrepareConfig, main

TRAIN, TEST = range(1, 9), range(9, 12)


def write_tree(folder: Path) -> Path:
    """Write two images a patient, in two folders, one of them in colour; two findings an image, none of patient 1."""
    names = {f"{patient:08}_{visit:03}.png": patient for patient in (*TRAIN, *TEST) for visit in (0, 1)}
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height],"]
    random = np.random.default_rng(0)
    for number, (name, patient) in enumerate(names.items()):
        place = folder / f"images_{number % 2 + 1:03}" / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (40, 40), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (image.convert("RGBA") if number == 3 else image).save(place)
        found = "|".join(FINDINGS[(number + step) % 14] for step in (0, 5)) if patient != 1 else "No Finding"
        rows.append(f"{name},{found},0,{patient},40,40,")
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    for file, patients in (("train_val_list.txt", TRAIN), ("test_list.txt", TEST)):
        (folder / file).write_text("\n".join(name for name, patient in names.items() if patient in patients) + "\n")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("chestxray14"))


@pytest.fixture(scope="module")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    main(PrepareConfig(source=tree, out=out))
    return out


def test_preparing_again_writes_the_same_bytes(tree: Path, prepared: Path) -> None:
    first = content_of(prepared)
    report = main(PrepareConfig(source=tree, out=prepared))
    assert content_of(prepared) == first
    assert report["patients"] == {"train": 7, "val": 1, "test": 3}
    assert report["images"] == {"train": 14, "val": 2, "test": 6}
    with pytest.raises(ValueError, match="got other content"):
        main(PrepareConfig(source=tree, out=prepared, seed=1))


def test_labels_split_and_grey_copies_are_those_of_the_tree(tree: Path, prepared: Path) -> None:
    rows = {row["case"]: row for row in read_csv(prepared / "classes.csv")}
    assert {name for name in FINDINGS if rows["00000002_001"][name] == "1"} == {FINDINGS[3], FINDINGS[8]}
    assert {rows["00000001_000"][name] for name in FINDINGS} == {"0"}
    split = json.loads((prepared / "splits.json").read_text())
    assert split["test"] == [f"{patient:08}" for patient in TEST]
    assert sorted(split["train"] + split["val"]) == [f"{patient:08}" for patient in TRAIN]
    (copy,) = (prepared / "grey").iterdir()
    original = Image.open(next(tree.rglob(copy.name)))
    assert original.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(Image.open(copy)), np.asarray(original)[..., 0])


def change(tree: Path, file: str, old: str, new: str) -> None:
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Data_Entry_2017.csv", ",No Finding,", ",No Finding|Mass,", "'No Finding' alone"),
        ("Data_Entry_2017.csv", ",Infiltration|", ",Flu|", "the 14 findings"),
        ("Data_Entry_2017.csv", ",0,2,40", ",0,3,40", "of patient 1, got 00000002_000.png of '3'"),
        ("Data_Entry_2017.csv", "Finding Labels", "Findings", "columns of .* 1 missing: Finding Labels"),
        ("Data_Entry_2017.csv", "00000002_000.png", "00000002_007.png", "row in Data_Entry_2017.csv .*00000002_000"),
        ("test_list.txt", "00000009_000.png\n", "", "image of Data_Entry_2017.csv in a list, 1 missing: 00000009_000"),
        ("test_list.txt", "00000009_000.png", "00000008_000.png", "once, got 00000008_000.png twice"),
    ],
)
def test_inconsistent_trees_are_refused(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    change(write_tree(tmp_path / "tree"), file, old, new)
    with pytest.raises(ValueError, match=message):
        main(PrepareConfig(source=tmp_path / "tree", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_patient_in_both_lists_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    change(tree, "test_list.txt", "00000009_000.png", "00000008_001.png")
    change(tree, "train_val_list.txt", "00000008_001.png", "00000009_000.png")
    with pytest.raises(ValueError, match="0000000[89] is in both"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))


def test_missing_images_are_named_or_left(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    next(tree.rglob("00000002_000.png")).unlink()
    with pytest.raises(ValueError, match=r"1 missing: 00000002_000.png; unpack .*--missing leave"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    assert main(PrepareConfig(source=tree, out=tmp_path / "out", missing="leave"))["missing"] == 1
    assert "00000002_000" not in {row["case"] for row in read_csv(tmp_path / "out" / "classes.csv")}


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/ChestXray14": tree, "runs/chestxray14": tmp_path / "runs"}
    commands = commands_of("chestxray14", places, tmp_path, DEVICE="cpu")
    assert [command[1].removeprefix("train.") for command in commands] == [
        *("recipes.chestxray14.prepare", "dali_cr", "pretrain", "finetune", "predict", "result")
    ]
    small = "--crop 1 32 32 --local-crop 1 32 32 --cutout 2 4"
    run_all(commands, f"{small} --evaluate-samples 2", "--crop 1 64 64 --shrink 1 2 2 --shift 2")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert set(result["scores"]["by_class"]) == set(FINDINGS)
    assert any(one["auroc"] is not None for one in result["scores"]["by_class"].values())
    assert len(read_csv(tmp_path / "runs" / "predicted" / "classes.csv")) == 6
    assert result["pretraining"]["encoder_weights"] == result["report"]["encoder_weights"] == "random"
    again = {"DEVICE": "cpu", "ENCODER_WEIGHTS": "imagenet"}
    for more, expected in (({}, ["imagenet", "random"]), ({"INIT": "random"}, ["imagenet"])):
        record = commands_of("chestxray14", places, tmp_path, **again, **more)
        (tmp_path / "record").unlink()
        words = [words for _, module, *words in record if module in ("train.pretrain", "train.finetune")]
        assert [one[one.index("--encoder-weights") + 1] for one in words][-len(expected) :] == expected
