"""Test the recipe for BraTS 2018 on volumes of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.published import save, write_brats
from tests.helpers.recipe_runs import commands_of, content_of, run_all
from train.recipes.brats2018.prepare import CHANNELS, PrepareConfig, main


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brats(tmp_path_factory.mktemp("brats"))


def test_preparing_again_writes_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    report = main(PrepareConfig(source=tree, out=tmp_path))
    first = content_of(tmp_path)
    assert main(PrepareConfig(source=tree, out=tmp_path)) == report
    assert content_of(tmp_path) == first
    assert all(counts["HGG"] and counts["LGG"] for counts in report["cases"].values())
    rows = read_csv(tmp_path / "images.csv")
    assert [row["channel"] for row in rows[:4]] == list(CHANNELS)
    assert len(rows) == 44
    split = json.loads((tmp_path / "splits.json").read_text())
    assert sum(name == "Brats18_TCIA01_100" for part in ("train", "val", "test") for name in split[part]) == 1


def test_inconsistent_trees_are_refused(tmp_path: Path) -> None:
    tree = write_brats(tmp_path / "tree", high=3, low=3)
    config = PrepareConfig(source=tree, out=tmp_path / "out")
    case = tree / "HGG" / "Brats18_TCIA01_101_1"
    seg, t2 = case / f"{case.name}_seg.nii.gz", case / f"{case.name}_t2.nii.gz"
    content, labels = seg.read_bytes(), np.asarray(nib.load(seg).dataobj)
    save(np.where(labels == 4, 3, labels), seg)
    with pytest.raises(ValueError, match="labels 1, 2 and 4 of BraTS 2018, .*101_1_seg.nii.gz has 3"):
        main(config)
    seg.write_bytes(content)
    image = np.asarray(nib.load(t2).dataobj)
    save(image, t2, shift=5.0)
    with pytest.raises(ValueError, match="one grid for the files of Brats18_TCIA01_101_1, .*_t2.nii.gz has another"):
        main(config)
    save(image, t2)
    (tree / "LGG").rename(tree / "other")
    with pytest.raises(ValueError, match="a folder for each grade, 1 missing: .*LGG"):
        main(config)
    t2.unlink()
    with pytest.raises(ValueError, match="five files for each case, 1 missing: Brats18_TCIA01_101_1_t2"):
        main(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/MICCAI_BraTS_2018_Data_Training": tree, "runs/brats2018": tmp_path / "runs"}
    commands = commands_of("brats2018", places, tmp_path, DEVICE="cpu")
    small = "--crop 16 16 16 --sizes 16 16 16 --local-crop 8 8 8 --local-sizes 8 8 8 --patch 2 --evaluate-samples 2"
    run_all(commands, small, "--crop 16 16 16")
    result = json.loads((tmp_path / "runs" / "result.json").read_text())
    assert set(result["scores"]["by_class"]) == {"WT", "TC", "ET"}
    predicted = nib.load(next((tmp_path / "runs" / "predicted").glob("Brats18_*.nii.gz")))
    assert set(np.unique(predicted.get_fdata())) <= {0, 1, 2, 4}
