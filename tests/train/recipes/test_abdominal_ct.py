"""Test the recipe for boxes of organs in abdominal CT on scans of its layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.abdominal_ct.prepare import ORGANS, PrepareConfig, main

TRAIN, TEST, MR = (1, 4, 5, 7, 9), (8, 13), (507,)
AFFINE = np.diag([-8.0, 8.0, 10.0, 1.0])


def write_scan(folder: Path, part: str, number: int) -> None:
    """Write a scan and its labels: each organ is a block, later along the first axis for greater numbers."""
    random = np.random.default_rng(number)
    labels = np.zeros((20, 18, 16), np.uint8)
    for place, label in enumerate(ORGANS.values()):
        labels[2 * place + number % 3 : 2 * place + number % 3 + 2, 3:9, 4 + place : 8 + place] = label
    labels[18:, 15:, :2] = 5
    voxels = (40 * labels + random.integers(-100, 100, labels.shape)).astype(np.int16)
    for kind, array in (("images", voxels), ("labels", labels)):
        (folder / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, AFFINE), folder / f"{kind}{part}" / f"amos_{number:04}.nii.gz")


def write_tree(folder: Path) -> Path:
    for number in (*TRAIN, *MR):
        write_scan(folder, "Tr", number)
    for number in TEST:
        write_scan(folder, "Va", number)
    names = {str(label): organ for organ, label in ORGANS.items()}
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", **names, "8": "arota"}}))
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("amos22"))


def test_preparing_again_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    report = main(PrepareConfig(source=tree, out=tmp_path / "out"))
    assert report["cases"] == {"train": 4, "val": 1, "test": 2}
    assert report["excluded"] == []
    first = content_of(tmp_path / "out")
    assert main(PrepareConfig(source=tree, out=tmp_path / "out")) == report
    assert content_of(tmp_path / "out") == first
    # 16 x 10, 18 x 8 and 20 x 8 mm, in multiples of 32 voxels of 4 mm.
    assert first["view.txt"] == b"--spacing 4 4 4 --crop 64 64 64\n"
    split = json.loads(first["splits.json"])
    assert split["test"] == ["amos_0008", "amos_0013"]
    assert sorted(split["train"] + split["val"]) == [f"amos_{number:04}" for number in TRAIN]
    with pytest.raises(ValueError, match="other content"):
        main(PrepareConfig(source=tree, out=tmp_path / "out", seed=3, spacing=2.0))


def test_boxes_are_those_of_the_labels(tree: Path, tmp_path: Path) -> None:
    path = tree.parent / "without_pancreas"
    write_tree(path)
    labels = nib.load(path / "labelsTr" / "amos_0004.nii.gz")
    kept = np.asarray(labels.dataobj)
    nib.save(nib.Nifti1Image(kept * (kept != ORGANS["pancreas"]), AFFINE), path / "labelsTr" / "amos_0004.nii.gz")
    main(PrepareConfig(source=path, out=tmp_path / "out"))
    rows = {row["case"]: row for row in read_csv(tmp_path / "out" / "boxes.csv")}
    row = rows["amos_0004"]
    corners = [f"{end}{axis}" for end in ("lo", "hi") for axis in "ijk"]
    assert [row[f"spleen_{corner}"] for corner in corners] == ["3", "3", "5", "5", "9", "9"]
    assert [row[f"left kidney_{corner}"] for corner in corners] == ["7", "3", "7", "9", "9", "11"]
    assert [row[f"pancreas_{corner}"] for corner in corners] == [""] * 6
    assert rows["amos_0001"]["pancreas_loi"] == "9"


def another_grid(tree: Path) -> None:
    path = tree / "labelsTr" / "amos_0004.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] = 50
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj).copy(), moved), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: (tree / "labelsTr/amos_0004.nii.gz").unlink(), "labelsTr for each scan, 1 missing: amos_0004"),
        (lambda tree: (tree / "imagesVa/amos_0008.nii.gz").unlink(), "imagesVa for each label .* missing: amos_0008"),
        (another_grid, r"1 are not so \(amos_0004: .*on another grid"),
        (lambda tree: (tree / "labelsTr/amos_0004.nii.gz").write_bytes(b"x"), "amos_0004"),
    ],
    ids=["labels", "scan", "grid", "file"],
)
def test_unusable_scans_are_named_or_left(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    tree = write_tree(tmp_path / "tree")
    change(tree)
    with pytest.raises(ValueError, match=message):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    report = main(PrepareConfig(source=tree, out=tmp_path / "out", missing="leave"))
    assert report["excluded"] in (["amos_0004"], ["amos_0008"])
    assert sum(report["cases"].values()) == 6


def test_inconsistent_trees_are_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    write_scan(tree, "Va", 4)
    with pytest.raises(ValueError, match="amos_0004 is in imagesTr and in imagesVa"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    (tree / "dataset.json").write_text((tree / "dataset.json").read_text().replace("spleen", "stomach"))
    with pytest.raises(ValueError, match="label 1 to be spleen, .* calls it 'stomach'"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    with pytest.raises(ValueError, match="folders of AMOS, 1 missing: imagesTr"):
        main(PrepareConfig(source=tmp_path, out=tmp_path / "out"))


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    main(PrepareConfig(source=tree, out=tmp_path / "runs" / "data"))  # run.sh reads view.txt
    places = {"data/amos22": tree, "runs/abdominal_ct": tmp_path / "runs"}
    control = commands_of("abdominal_ct", places, tmp_path, DEVICE="cpu", INIT="random")
    commands = commands_of("abdominal_ct", places, tmp_path, DEVICE="cpu")[len(control) :]
    assert [module.removeprefix("train.") for _, module, *_ in commands] == [
        *("recipes.abdominal_ct.prepare", "dali_cr", "pretrain", "finetune", "predict", "result")
    ]
    assert [module for _, module, *_ in control] == [one for _, one, *_ in commands if one != "train.pretrain"]
    small = "--spacing 5 5 5 --crop 32 32 32"
    run_all(commands, f"{small} --patch 2 8 --iterations 4 --evaluate-samples 2", f"{small} --shift 2")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert set(result["scores"]["by_class"]) == set(ORGANS)
    boxes = json.loads((tmp_path / "runs" / "predicted" / "boxes.json").read_text())
    assert set(boxes) == {"amos_0008", "amos_0013"}
