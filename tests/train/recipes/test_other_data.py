"""Test the script that runs recipes on other data, and that the table of its scores has the numbers of the results."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from train import finetune, pretrain
from train.recipes.arrange import ArrangeConfig
from train.tasks.config.segment import Segment
from train.tasks.config.whole import Localize

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "train" / "recipes"
NAMES = ("hc18", "organs3d", "boxes", "nodules", "mednist")
SEGMENTED = {"hippocampus": "swap", "hippocampus3d": "pcrlv2", "mandible": "pcrlv2"}
"""Data sets of segmentation, with their pre-training."""

SCORES = {"Dice": "dice", "faces, px": "face_mm", "faces, mm": "face_mm", "macro F1": "f1", "AUROC": "auroc"}

RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >> "$RECORD"
printf '\\n' >> "$RECORD"
for last in "$@"; do :; done
case $2 in
    dali_cr | train.splits) : > "$last" ;;
    train.data.medmnist) mkdir -p "$5" && : > "$5/classes.csv" ;;
esac
"""
"""A program in place of Python that records its arguments and creates the files that later commands need."""

TABLES = {
    "hc18_fetal_head/annotations.csv": "file,split\n",
    "openkbp_hn_ct/boxes.csv": "file,split\n",
    "luna16_candidates2d/labels.csv": "file,label,split\r\n" + "".join(f"val/{n}.jpg,1,train\r\n" for n in range(20)),
    "mednist_subset/labels.csv": "file,label,split\nHand/1.jpeg,Hand,train\nCXR/2.jpeg,CXR,test\n",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """Return the folder of the runs, and the arguments of every call of Python."""
    folder = tmp_path_factory.mktemp("other")
    for name, text in TABLES.items():
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_text(text)
    recorder, record = folder / "python", folder / "record"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    variables = {**os.environ, "PYTHON": str(recorder), "RECORD": str(record)}
    line = ["bash", str(RECIPES / "other_data.sh"), str(folder / "data"), str(folder / "runs"), *NAMES, *SEGMENTED]
    subprocess.run(line, cwd=ROOT, env=variables, check=True, timeout=60)
    return folder / "runs", [text.split("\0")[:-1] for text in record.read_text().splitlines()]


def test_each_recipe_runs_after_pretraining_and_from_random_weights(recorded: tuple[Path, list[list[str]]]) -> None:
    runs, calls = recorded
    pretrained = [pretrain.read_settings(words) for _, module, *words in calls if module == "train.pretrain"]
    tuned = [finetune.read_settings(words) for _, module, *words in calls if module == "train.finetune"]
    assert [one.out for one in pretrained] == [
        *(runs / name / "pretrain" for name in NAMES),
        *(runs / name / "runs" / pretext / "seed0" / "pretrain" for name, pretext in SEGMENTED.items()),
    ]
    whole, masks = 2 * len(NAMES), pretrained[len(NAMES) :]
    assert [one.init for one in tuned[:whole]] == [
        init for one in pretrained[: len(NAMES)] for init in (str(one.out), "random")
    ]
    assert [one.init for one in tuned[whole:]] == [init for one in masks for init in ("random", str(one.out))]
    assert [name for name, one in zip(NAMES, tuned[:whole:2], strict=True) if isinstance(one, Localize)] == [
        "hc18",
        "boxes",
    ]
    for one, control in zip(tuned[::2], tuned[1::2], strict=True):
        assert (one.labels, one.steps, one.lr, one.crop) == (control.labels, control.steps, control.lr, control.crop)
        assert one.labels.is_file() or isinstance(one, Segment)
    scored = [words[0] for _, module, *words in calls if module == "train.baseline"]
    assert scored == [str(runs / name / "finetune") for name in NAMES]


def test_segmentation_is_of_volumes_in_the_published_layouts(recorded: tuple[Path, list[list[str]]]) -> None:
    runs, calls = recorded
    lines = {
        module: words for _, module, *words in calls if module.startswith("train.recipes.") and "mandible" in words[-1]
    }
    assert list(lines) == [f"train.recipes.{name}" for name in ("arrange", "lits.prepare", "compare")]
    arranged = ArrangeConfig(
        layout="lits",
        images=Path(lines["train.recipes.arrange"][2]),
        labels=Path(lines["train.recipes.arrange"][4]),
        values=tuple(lines["train.recipes.arrange"][6:-2]),
        out=Path(lines["train.recipes.arrange"][-1]),
    )
    assert arranged.images == runs.parent / "data" / "openkbp_hn_ct" / "images"
    assert lines["train.recipes.lits.prepare"] == [str(arranged.out), str(runs / "mandible" / "data")]
    for _, module, *words in calls:
        if module == "train.finetune" and words[0] == "segment":
            one = finetune.read_settings(words)
            assert isinstance(one, Segment)
            known = {"hippocampus": {2, 4}, "hippocampus3d": {2, 4}, "mandible": {1, 2}}[one.out.parents[3].name]
            assert {int(number) for region in one.regions for number in region.partition("=")[2].split("+")} == known


def test_tables_are_converted(recorded: tuple[Path, list[list[str]]]) -> None:
    runs, _ = recorded
    rows = (runs / "mednist" / "data" / "classes.csv").read_text().splitlines()
    assert rows == [
        *("file,AbdomenCT,BreastMRI,CXR,ChestCT,Hand,HeadCT", "Hand/1.jpeg,0,0,0,0,1,0", "CXR/2.jpeg,0,0,1,0,0,0")
    ]
    rows = (runs / "nodules" / "data" / "fold0" / "classes.csv").read_text().splitlines()
    assert [row for row in rows if row.endswith(",val")] == ["val/9.jpg,1,val", "val/19.jpg,1,val"]


def report_of(link: str, column: str) -> dict[str, Any]:
    """Return the scores of a stored result that a cell links to."""
    content: dict[str, Any] = json.loads((RECIPES / link).read_text())
    report: dict[str, Any] = content[column]["report"] if column in content else content["report"]
    return report


def test_the_table_has_the_numbers_of_the_results() -> None:
    section = (RECIPES / "README.md").read_text().partition("| data | train, test | score |")[2]
    section = "| data | train, test | score |" + section.partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    header, _, *rows = lines
    assert [row[0] for row in rows] == [*NAMES, *SEGMENTED]
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        assert (cells["linear"] == "–") == (cells["trivial"] == "–") == (cells["data"] in SEGMENTED)
        for column in ("trivial", "linear", "random weights", "pre-trained"):
            if cells[column] == "–":
                continue
            number, link = re.fullmatch(r"\[([\d.]+)\]\((.+)\)", cells[column]).groups()  # type: ignore[union-attr]
            value = report_of(link, column)[SCORES[cells["score"]]]
            assert f"{value:.{len(number.partition('.')[2])}f}" == number, (cells["data"], column)
