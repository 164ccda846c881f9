"""Studies with pretexts on tiles: their options, the transfer of the encoder alone, and the table of accuracies."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.study import runs as study_runs
from train.study.declared import Study
from train.study.file import read_study
from train.study.report.tables import gain_table
from train.study.runs import Arm, arms_of, pretraining

FILE = """
[protocol]
budgets = ["all"]
seeds = [1]
transfers = ["encoder+decoder"]
steps = { short = 1 }
rates = [1e-3]
tuning = { seed = 0, budget = "all", steps = "short" }

[data.bodies]
fractions = [0.5, 0.25, 0.25]
[data.bodies.pretrain]
patch = [2, 4]
each-patch-once = true
tile = 6
steps = 1

[tasks.parts]
kind = "segment"
data = "bodies"
labels = "labels"

[inits.random]
[inits.swap]
pretrain = { iterations = 4 }
[inits.pcrlv2]
pretrain = { recipe = "pcrlv2" }
[inits.position]
pretrain = { pretext = "position", gap = 3 }
[inits.jigsaw]
pretrain = { pretext = "jigsaw", permutations = 10 }
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "study.toml"
    path.write_text(FILE)
    return read_study(path)


def test_a_pretext_gets_the_options_that_it_has(study: Study) -> None:
    fixed = {"steps", "part", "seed"}
    patches = {"patch", "each-patch-once"}
    found = {run.arm.init: set(run.options) - fixed for run in pretraining(study)}
    assert found == {
        "swap": {*patches, "iterations"},
        "pcrlv2": {*patches, "recipe"},
        "position": {"pretext", "tile", "gap"},
        "jigsaw": {"pretext", "tile", "permutations"},
    }


def test_only_the_encoder_is_transferred_from_tiles(study: Study) -> None:
    wanted = [Arm("random"), *(Arm(name, "encoder+decoder") for name in ("swap", "pcrlv2"))]
    arms = arms_of(study, "parts")
    assert arms == [*wanted, *(Arm(name, "encoder") for name in ("position", "jigsaw"))]
    runs = study_runs.testing(study, {("parts", arm): 1e-3 for arm in arms})
    assert [run.options.get("transfer") for run in runs] == [arm.transfer for arm in arms]


def test_the_table_of_pre_training_has_accuracies_only_with_tiles() -> None:
    about = {"data": "bodies", "seconds": 60.0, "cpu_seconds": 120.0}
    swap = {**about, "init": "swap", "changed_share": 0.5, "restoration_gain": [[0, -1.0], [4, 0.25]]}
    swap |= {"report": {"steps": 4, "mse": 0.125}}
    report = {"steps": 4, "accuracy": 0.75, "chance": 0.125, "cross_entropy": 1.0}
    tiles = {**about, "init": "position", "changed_share": None, "restoration_gain": [], "report": report}
    head, _, first, second, *_ = gain_table([swap, tiles])
    assert "| MSE | accuracy | chance | minutes |" in head
    assert first == "| bodies | swap | 4 | 50.0% | – | 0.250 | 0.125 | – | – | 1.0 | 2.0 |"
    assert second == "| bodies | position | 4 | – | – | – | – | 0.750 | 0.125 | 1.0 | 2.0 |"
    assert "accuracy" not in "\n".join(gain_table([swap]))
