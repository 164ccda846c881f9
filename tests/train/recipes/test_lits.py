"""Test the recipe for LiTS on volumes of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.lits.prepare import PrepareConfig, main

AFFINE = np.diag([-0.75, -0.75, 2.0, 1.0])
IDENTITY, OTHER_GRID = 3, 5


def write_tree(folder: Path, count: int = 10) -> Path:
    """Write volumes with a liver and a tumour; one has an identity affine, one a segmentation on another grid."""
    random = np.random.default_rng(0)
    for number in range(count):
        batch = folder / f"Training Batch {1 + number // 5}"
        batch.mkdir(parents=True, exist_ok=True)
        labels = np.zeros((24, 20, 18), np.uint8)
        labels[4:16, 4:16, 4:14] = 1
        labels[6:12, 6:12, 6:11] = 2
        image = (random.normal(0, 20, labels.shape) + 60 * labels).astype(np.int16)
        affine = np.eye(4) if number == IDENTITY else AFFINE
        nib.save(nib.Nifti1Image(image, affine), batch / f"volume-{number}.nii")
        grid = affine.copy()
        grid[2, 3] = 9 * (number == OTHER_GRID)
        nib.save(nib.Nifti1Image(labels, grid), batch / f"segmentation-{number}.nii")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("lits"))


def test_wrong_headers_are_refused_or_left(tree: Path, tmp_path: Path) -> None:
    wrong = "got 2 other cases .volume-3 has an identity affine; volume-5 has a segmentation on another grid"
    with pytest.raises(ValueError, match=wrong):
        main(PrepareConfig(source=tree, out=tmp_path))
    report = main(PrepareConfig(source=tree, out=tmp_path, headers="leave"))
    assert report["excluded"] == ["volume-3", "volume-5"]
    assert sum(report["cases"].values()) == 8
    first = content_of(tmp_path)
    main(PrepareConfig(source=tree, out=tmp_path, headers="leave"))
    assert content_of(tmp_path) == first
    with pytest.raises(ValueError, match="got other content"):
        main(PrepareConfig(source=tree, out=tmp_path, headers="image"))


def test_the_header_of_the_volume_keeps_every_label(tree: Path, tmp_path: Path) -> None:
    report = main(PrepareConfig(source=tree, out=tmp_path, headers="image"))
    assert report["header_of_volume"] == ["volume-3", "volume-5"]
    first = content_of(tmp_path)
    main(PrepareConfig(source=tree, out=tmp_path, headers="image"))
    assert content_of(tmp_path) == first
    copy = nib.load(tmp_path / "labels" / "volume-5.nii.gz")
    np.testing.assert_array_equal(copy.affine, AFFINE)
    np.testing.assert_array_equal(copy.get_fdata(), nib.load(next(tree.rglob("segmentation-5.nii"))).get_fdata())
    assert (tmp_path / "labels" / "volume-0.nii").readlink() == next(tree.rglob("segmentation-0.nii"))
    assert len(read_csv(tmp_path / "images.csv")) == 10


def test_incomplete_pairs_are_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", count=3)
    (tree / "Training Batch 1" / "segmentation-1.nii").rename(tree / "segmentation-7.nii")
    with pytest.raises(ValueError, match="volume for each segmentation, 1 missing: volume-7.nii"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    (tree / "segmentation-7.nii").unlink()
    with pytest.raises(ValueError, match="segmentation for each volume, 1 missing: segmentation-1.nii"):
        main(PrepareConfig(source=tree, out=tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected the volumes, 1 missing"):
        main(PrepareConfig(source=tmp_path / "empty", out=tmp_path / "out"))


def test_another_shape_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", count=3)
    nib.save(
        nib.Nifti1Image(np.zeros((24, 20, 17), np.uint8), AFFINE), tree / "Training Batch 1" / "segmentation-1.nii"
    )
    with pytest.raises(ValueError, match=r"segmentation-1.nii in the shape of its volume, \(24, 20, 18\)"):
        main(PrepareConfig(source=tree, out=tmp_path / "out", headers="image"))


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/LiTS": tree, "runs/lits": tmp_path / "runs"}
    control = commands_of("lits", places, tmp_path, DEVICE="cpu", INIT="random")
    commands = commands_of("lits", places, tmp_path, DEVICE="cpu")[len(control) :]
    assert [module for _, module, *_ in control] == [one for _, one, *_ in commands if one != "train.pretrain"]
    (finetuning,) = (words for _, module, *words in control if module == "train.finetune")
    assert finetuning[finetuning.index("--init") + 1] == "random"
    small = "--crop 16 16 16 --sizes 16 16 16 --local-crop 8 8 8 --local-sizes 8 8 8 --patch 2 --evaluate-samples 2"
    run_all(commands, small, "--crop 16 16 16 --spacing own")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert set(result["scores"]["by_class"]) == {"liver", "tumour"}
    assert len(list((tmp_path / "runs" / "predicted").glob("volume-*.nii*"))) == result["scores"]["cases"]
