"""Test the recipe for CheXpert on images of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.chexpert.prepare import PrepareConfig, main

COLUMNS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,{','.join(COLUMNS)}"


def write_tree(folder: Path) -> Path:
    """Write a frontal and a lateral image of each patient; every observation takes its four values in turn."""
    random = np.random.default_rng(0)
    for part, patients in (("train", range(1, 11)), ("valid", range(64541, 64544))):
        rows = [HEADER]
        for patient in patients:
            for view, kind in enumerate(("Frontal", "Lateral"), start=1):
                path = f"{part}/patient{patient:05}/study1/view{view}_{kind.lower()}.jpg"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                size = (34, 40) if view == 1 else (40, 30)
                Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)).save(folder / path)
                texts = ("1.0", "0.0", "-1.0", "") if part == "train" else ("1.0", "0.0")
                cells = [texts[(patient + view + place) % len(texts)] for place in range(5)]
                rows.append(f"CheXpert-v1.0-small/{path},Male,68,{kind},AP,,{','.join(cells)}")
        (folder / f"{part}.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("chexpert"))


def classes(tree: Path, out: Path, **policies: str) -> dict[str, list[str]]:
    """Return the labels of each case."""
    main(PrepareConfig(source=tree, out=out, **policies))  # type: ignore[arg-type]
    return {row["case"]: [row[name] for name in COLUMNS] for row in read_csv(out / "classes.csv")}


def test_preparing_again_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    report = main(PrepareConfig(source=tree, out=tmp_path))
    first = content_of(tmp_path)
    assert main(PrepareConfig(source=tree, out=tmp_path)) == report
    assert content_of(tmp_path) == first
    assert report["patients"] == {"train": 9, "val": 1, "test": 3}
    assert report["largest"] == [40, 40]
    assert report["images"] == report["labelled"] == 26


def test_policies_decide_on_blank_and_uncertain_cells(tree: Path, tmp_path: Path) -> None:
    case = "patient00001_study1_view1_frontal"  # -1, blank, 1, 0, -1
    assert classes(tree, tmp_path / "a")[case] == ["0", "0", "1", "0", "0"]
    assert classes(tree, tmp_path / "b", blank="ones")[case] == ["0", "1", "1", "0", "0"]
    assert classes(tree, tmp_path / "c", uncertain="ones")[case] == ["1", "0", "1", "0", "1"]
    left = classes(tree, tmp_path / "d", uncertain="leave")
    assert len(left) == 6  # those of valid.csv
    assert len((tmp_path / "d" / "images.csv").read_text().splitlines()) == 27
    frontal = classes(tree, tmp_path / "e", views="frontal")
    assert len(frontal) == 13
    assert all(name.endswith("frontal") for name in frontal)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",-1.0,", ",2.0,", "Atelectasis of patient00001.*: expected 1, 0, -1 or a blank, got '2'"),
        ("/view1_frontal.jpg", "/view3_frontal.jpg", "images of train.csv, 1 missing: .*view3_frontal.jpg"),
        ("small/train/patient00001/study1/view1", "small/patient00001/view1", "expected paths as"),
        ("Edema", "Oedema", "1 missing: Edema"),
        ("/view2_lateral.jpg", "/view1_frontal.jpg", "one row for each Path, line 3"),
        ("small/train/patient00001", "small/valid/patient64541", "patient64541 is in train.csv and valid.csv"),
    ],
)
def test_inconsistent_trees_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    tree = write_tree(tmp_path / "tree")
    text = (tree / "train.csv").read_text()
    assert old in text
    (tree / "train.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/CheXpert-v1.0-small": tree, "runs/chexpert": tmp_path / "runs"}
    commands = commands_of("chexpert", places, tmp_path, DEVICE="cpu", CROP="64 64")
    small = "--crop 1 32 32 --local-crop 1 32 32 --cutout 2 4"
    run_all(commands, f"{small} --evaluate-samples 2", "")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert {name: one["auroc"] is not None for name, one in result["scores"]["by_class"].items()} == dict.fromkeys(
        COLUMNS, True
    )
    again = commands_of("chexpert", places, tmp_path, DEVICE="cpu", CROP="64 64")[len(commands) :]
    assert [command[1].rpartition(".")[2] for command in again] == ["prepare", "pretrain", "finetune", "result"]
    outputs = run_all(again, f"{small} --evaluate-samples 2", "")
    assert sum("is finished" in output for output in outputs) == 2
