"""Test the recipe for fetal planes on images of its layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.finetuning import read_csv
from tests.helpers.published import TEST, TRAIN, write_fetal_planes
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.fetal_planes.prepare import PLANES, PrepareConfig, main


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fetal_planes(tmp_path_factory.mktemp("fetal_planes"))


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
    assert (report["missing"], report["grey_copies"]) == (0, 1)
    with pytest.raises(ValueError, match="other content"):
        main(PrepareConfig(source=tree, out=prepared, seed=1))


def test_labels_split_and_grey_copies_are_those_of_the_tree(tree: Path, prepared: Path) -> None:
    rows = {row["case"]: row["plane"] for row in read_csv(prepared / "classes.csv")}
    assert rows["Patient00003_Plane2_1_of_2"] == PLANES[1]
    split = json.loads((prepared / "splits.json").read_text())
    assert split["test"] == [f"{patient:05}" for patient in TEST]
    assert sorted(split["train"] + split["val"]) == [f"{patient:05}" for patient in TRAIN]
    (copy,) = (prepared / "grey").iterdir()
    np.testing.assert_array_equal(
        np.asarray(Image.open(copy)), np.asarray(Image.open(tree / "Images" / copy.name))[..., 0]
    )


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        path = tree / "FETAL_PLANES_DB_data.csv"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("_Plane1_1_of_2;1;", "_Plane1_1_of_2;2;"), "for patient 1, got Patient00001_Plane1_1_of_2 for '2'"),
        (edit(PLANES[2], "Fetal knee"), "Patient00001_Plane1_1_of_2 .* has 'Fetal knee'"),
        (edit("E6;1 ", "E6;2 "), r"1 \(training\) or 0 \(test\), Patient00001_Plane1_1_of_2 .* has '2'"),
        (edit("E6;1 ", "E6;0 "), "00001 is in both"),
        (edit("Patient_num", "Patient"), "columns of .* 1 missing: Patient_num"),
        (lambda tree: (tree / "FETAL_PLANES_DB_data.csv").unlink(), "1 missing: FETAL_PLANES_DB_data.csv"),
        (lambda tree: (tree / "Images/Patient00004_Plane1_1_of_2.png").write_bytes(b"x"), "Patient00004.* cannot be"),
    ],
    ids=["patient", "plane", "part", "both parts", "column", "table", "image"],
)
def test_inconsistent_trees_are_refused(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    change(write_fetal_planes(tmp_path / "tree"))
    with pytest.raises(ValueError, match=message):
        main(PrepareConfig(source=tmp_path / "tree", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_missing_images_are_named_or_left(tmp_path: Path) -> None:
    tree = write_fetal_planes(tmp_path / "tree")
    (tree / "Images" / "Patient00002_Plane2_1_of_2.png").unlink()
    with pytest.raises(ValueError, match=r"1 missing: Patient00002_Plane2_1_of_2.png; .*--missing leave"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    assert main(PrepareConfig(source=tree, out=tmp_path / "out", missing="leave"))["missing"] == 1
    assert "Patient00002_Plane2_1_of_2" not in {row["case"] for row in read_csv(tmp_path / "out" / "classes.csv")}


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/FETAL_PLANES_ZENODO": tree, "runs/fetal_planes": tmp_path / "runs"}
    control = commands_of("fetal_planes", places, tmp_path, DEVICE="cpu", INIT="random")
    commands = commands_of("fetal_planes", places, tmp_path, DEVICE="cpu")[len(control) :]
    assert [module.removeprefix("train.") for _, module, *_ in commands] == [
        *("recipes.fetal_planes.prepare", "dali_cr", "pretrain", "finetune", "predict", "result")
    ]
    assert [module for _, module, *_ in control] == [one for _, one, *_ in commands if one != "train.pretrain"]
    (finetuning,) = (words for _, module, *words in control if module == "train.finetune")
    assert finetuning[finetuning.index("--init") + 1] == "random"
    small = "--crop 1 32 32 --patch 2 8 --iterations 4 --evaluate-samples 2"
    run_all(commands, small, "--crop 1 32 32 --shift 2")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert set(result["scores"]["by_class"]) == set(PLANES)
    assert len(read_csv(tmp_path / "runs" / "predicted" / "classes.csv")) == 6
