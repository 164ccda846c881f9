"""Test the recipe for BraTS 2018 in 2-D on volumes of its layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.published import write_brats
from tests.helpers.recipe_runs import commands_of, run_all

REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brats(tmp_path_factory.mktemp("brats"), high=3, low=3)


@pytest.mark.usefixtures("one_thread")
def test_every_command_of_the_readme_runs(tree: Path, tmp_path: Path) -> None:
    places = {"data/MICCAI_BraTS_2018_Data_Training": tree, "runs/brats_2d": tmp_path / "runs"}
    commands = commands_of("brats_2d", places, tmp_path, DEVICE="cpu")
    small = "--crop 1 16 16 --threads 2"
    run_all(commands, f"{small} --patch 2 4 --evaluate-samples 2", small)
    runs = tmp_path / "runs"
    assert any((runs / "cache").iterdir())
    result = json.loads((runs / "result.json").read_text())
    assert result["report"]["transfer"] == "encoder+decoder"
    assert set(result["scores"]["by_class"]) == set(REGIONS)
    rows = read_csv(runs / "finetune" / "scores.csv")
    assert rows
    for row in rows:  # the Dice of the whole volume, of which the network saw one slice at a time
        case = row["case"]
        masks = (runs / "predicted" / f"{case}.nii.gz", runs / "data" / "labels" / f"{case}.nii.gz")
        predicted, target = (np.isin(np.asarray(nib.load(path).dataobj), REGIONS[row["class"]]) for path in masks)
        assert target.sum(axis=(0, 1)).astype(bool).sum() > 1
        both = predicted.sum() + target.sum()
        assert 2 * (predicted & target).sum() / both == pytest.approx(float(row["dice"]), abs=1e-6)


@pytest.mark.parametrize(
    ("variables", "transfer"),
    [({"INIT": "random"}, "encoder"), ({"PRETEXT": "inpaint"}, "encoder+decoder"), ({"PRETEXT": "jigsaw"}, "encoder")],
    ids=["random", "restoration", "tiles"],
)
def test_the_decoder_is_transferred_if_it_was_trained(tmp_path: Path, variables: dict[str, str], transfer: str) -> None:
    places = {"data/MICCAI_BraTS_2018_Data_Training": tmp_path, "runs/brats_2d": tmp_path / "runs"}
    commands = {module: words for _, module, *words in commands_of("brats_2d", places, tmp_path, **variables)}
    assert option(commands["train.finetune"], "--transfer") == transfer
    before = commands.get("train.pretrain", [])
    assert [option(before, "--pretext")] == [variables["PRETEXT"]] if before else "INIT" in variables
    assert ("--patch" in before) == (variables.get("PRETEXT") == "inpaint")
