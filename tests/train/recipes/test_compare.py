"""Test the baselines of the recipes of context restoration, and the table of their scores."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.finetuning import read_csv
from tests.helpers.published import write_fetal_planes
from tests.helpers.recipe_runs import RECIPES, commands_of, run_all
from train import finetune, pretrain
from train.output.files import write_json
from train.recipes.compare import CompareConfig, main
from train.recipes.fetal_planes.prepare import PLANES, PrepareConfig
from train.recipes.fetal_planes.prepare import main as prepare


def cells(table: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table in Markdown by their first cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.read_text().splitlines() if "|" in line
    ]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_baselines_are_one_pretraining_for_each_pretext(tmp_path: Path) -> None:
    places = {"runs/fetal_planes": tmp_path}
    commands = commands_of(".", places, tmp_path, DEVICE="cpu", SEEDS="3 4", INIT="elsewhere", PRETEXT="mae")
    runs = [words for _, module, *words in commands if module == "train.pretrain"]
    pretexts = ["swap", "autoencode", "inpaint", "position", "jigsaw"]
    settings = [pretrain.read_settings(words) for words in runs]
    assert [(one.seed, one.pretext) for one in settings] == [(seed, name) for seed in (3, 4) for name in pretexts]
    assert [one.out.parent for one in settings] == [
        tmp_path / "baselines" / name / f"seed{seed}" for seed in (3, 4) for name in pretexts
    ]
    assert {one.index for one in settings} == {tmp_path / "baselines" / "index.json"}
    tuned = [words for _, module, *words in commands if module == "train.finetune"]
    inits = [words[words.index("--init") + 1] for words in tuned]
    assert [init for init in inits if init != "random"] == [str(one.out) for one in settings]
    assert len(inits) == 12
    assert commands[-1][1:] == ["train.recipes.compare", str(tmp_path / "baselines")]


@pytest.mark.usefixtures("one_thread")
def test_runs_of_a_recipe_are_compared(tmp_path: Path) -> None:
    prepare(PrepareConfig(source=write_fetal_planes(tmp_path / "tree"), out=tmp_path / "data"))
    commands = commands_of(".", {"runs/fetal_planes": tmp_path}, tmp_path, DEVICE="cpu", PRETEXTS="autoencode")
    kept = [words for words in commands if words[1] != "train.predict"]
    run_all(kept, "--crop 1 32 32 --evaluate-samples 2", "--crop 1 32 32 --shift 2")
    table = cells(tmp_path / "baselines" / "baselines.md")
    assert list(table) == ["random", "autoencode"]
    correct = [
        {row["case"]: row["class"] == row["predicted"] for row in read_csv(path / "seed0" / "finetune" / "scores.csv")}
        for path in (tmp_path / "baselines" / name for name in table)
    ]
    means = [np.mean(list(one.values())) for one in correct]
    for row, mean in zip(table.values(), means, strict=True):
        assert float(row["accuracy"]) == pytest.approx(mean, abs=6e-4)
    assert table["random"]["difference"] == "–"
    assert float(table["autoencode"]["difference"].split()[0]) == pytest.approx(means[1] - means[0], abs=6e-4)
    assert {f"f1 {plane}" for plane in PLANES} <= set(table["random"])


def write_run(folder: Path, dice: dict[str, float], **settings: object) -> None:
    """Write what the table is made of, for cases with one region."""
    (folder / "finetune").mkdir(parents=True)
    with open(folder / "finetune" / "scores.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "class", "dice", "missed"])
        writer.writerows([case, "WT", value, int(value == 0)] for case, value in dice.items())
    summary = {"mean": float(np.mean(list(dice.values()))), "sd": None}
    result = {
        "network": {"task": {"name": "segment"}},
        "settings": {"steps": 5, **settings},
        "report": {"transfer": "encoder"},
        "pretraining": {"restoration_gain": 0.25},
        "scores": {"over_cases": {"dice": summary}, "by_class": {"WT": {"cases": len(dice), "dice": summary}}},
    }
    write_json(folder / "result.json", result)


def test_seeds_are_averaged_and_paired(tmp_path: Path) -> None:
    for seed, rise in ((0, 0.1), (1, 0.3)):
        write_run(tmp_path / "random" / f"seed{seed}", {"a": 0.5, "b": 0.3}, seed=seed)
        write_run(tmp_path / "swap" / f"seed{seed}", {"a": 0.5 + rise, "b": 0.3 + rise}, seed=seed)
    main(CompareConfig(runs=tmp_path))
    table = cells(tmp_path / "baselines.md")
    assert table["swap"]["dice"] == table["swap"]["dice WT"] == "0.600 ± 0.141"
    assert table["swap"]["difference"].startswith("+0.200 (")
    assert table["swap"]["pre-training"] == "gain 0.250 ± 0.000"


def test_empty_masks_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "random" / "seed0", {"a": 0.0, "b": 1.0})
    write_run(tmp_path / "swap" / "seed0", {"a": 0.0, "b": 1.0})
    write_run(tmp_path / "inpaint" / "seed0", {"a": 0.2, "b": 0.0})
    main(CompareConfig(runs=tmp_path))
    text = (tmp_path / "baselines.md").read_text()
    assert "**Every predicted mask of random, swap is empty**" in text
    assert text.count("inpaint") == 1
    write_run(tmp_path / "good" / "random" / "seed0", {"a": 0.5, "b": 1.0})
    main(CompareConfig(runs=tmp_path / "good"))
    assert "empty" not in (tmp_path / "good" / "baselines.md").read_text()


def test_lits_and_brats_in_3d_have_one_pretraining(tmp_path: Path) -> None:
    line = ["bash", str(RECIPES / "baselines.sh"), "lits", str(tmp_path), str(tmp_path / "runs")]
    wrong = subprocess.run(line, env={**os.environ, "PRETEXTS": "swap"}, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "baselines: expected PRETEXTS of pcrlv2 for lits, got swap" in wrong.stderr
    python, record = tmp_path / "python", tmp_path / "record"
    python.write_text('#!/bin/sh\necho "$@" >> "$RECORD"\n')
    python.chmod(0o755)
    subprocess.run(line, env={**os.environ, "PYTHON": str(python), "RECORD": str(record)}, check=True, timeout=60)
    calls = record.read_text().splitlines()
    tuned = [finetune.read_settings(call.split()[2:]) for call in calls if call.startswith("-m train.finetune")]
    assert [one.init for one in tuned] == ["random", str(tmp_path / "runs" / "pcrlv2" / "seed0" / "pretrain")]
    assert {one.index for one in tuned} == {tmp_path / "runs" / "index.json"}


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected runs from random weights in .*random, got none"):
        main(CompareConfig(runs=tmp_path))
    write_run(tmp_path / "random" / "seed0", {"a": 0.5, "b": 0.3})
    write_run(tmp_path / "swap" / "seed0", {"a": 0.5, "b": 0.3}, steps=9)
    with pytest.raises(ValueError, match="--steps is 5 in random/seed0 and 9 in swap/seed0"):
        main(CompareConfig(runs=tmp_path))
    (tmp_path / "swap" / "seed0").rename(tmp_path / "swap" / "seed1")
    with pytest.raises(ValueError, match=r"finished run in .*swap/seed0, result.json is missing"):
        main(CompareConfig(runs=tmp_path))
    assert not (tmp_path / "baselines.md").exists()
