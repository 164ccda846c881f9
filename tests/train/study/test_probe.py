"""Probes use the weights with which the runs of a study were initialised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.finetuning import write_data
from train import finetune, pretrain
from train.study import __main__ as study
from train.study import probe as study_probe
from train.study.jobs import RunQueue
from train.study.probe import fit_ridge
from train.study.runs import StudyRun

FILE = """
[protocol]
budgets = [2]
seeds = [1, 2]
steps = { late = 2 }
rates = [1e-3]
tuning = { seed = 0, budget = 2, steps = "late" }
[finetune]
batch_size = 2
[data.bodies]
images = ["images"]
fractions = [0.5, 0.25, 0.25]
[data.bodies.options]
network = "sononet64"
spacing = [30, 30, 30]
crop = [16, 16, 16]
filters = 2
[data.bodies.pretrain]
patch = [2, 4]
steps = 1
batch_size = 2
evaluate_samples = 2
[tasks.kinds]
kind = "classify"
data = "bodies"
labels = "classes.csv"
options = { columns = "kind" }
[inits.random]
[inits.swap]
pretrain = { iterations = 4 }
"""


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(queue: RunQueue, run: StudyRun) -> tuple[int, float]:
        module = pretrain if run.phase == "pretrain" else finetune
        return module.command_line(queue.command(run)[3:]), 0.0

    def do_all(queue: RunQueue, runs: Sequence[StudyRun]) -> None:
        assert [wrong for run in runs if (wrong := queue.do(run))] == []

    monkeypatch.setattr(RunQueue, "launch", launch)
    # Not in threads of a pool: a run in this process minds its signals, which only the main thread may.
    monkeypatch.setattr(RunQueue, "do_all", do_all)


@pytest.mark.usefixtures("in_process")
def test_asks_every_run(tmp_path: Path) -> None:
    bodies, file = write_data(tmp_path / "bodies"), tmp_path / "tiny.toml"
    file.write_text(FILE)
    line = [str(file), "--data", f"bodies={bodies}", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    line += ["--results", str(tmp_path / "results")]
    assert study_probe.command_line(line) == 2
    assert study.command_line(line) == 0
    assert study_probe.command_line(line) == 0
    told = json.loads((tmp_path / "results" / "tiny" / "features.json").read_text())
    assert told["study"] == "tiny"
    assert [(row["init"], row["seed"], row["pretrain_seed"]) for row in told["runs"]] == [
        ("random", 1, None),
        ("random", 2, None),
        ("swap", 1, 0),
        ("swap", 2, 0),
    ]
    assert [mean["init"] for mean in told["means"]] == ["random", "swap"]
    assert told["means"][1]["moved"] == pytest.approx((told["runs"][2]["moved"] + told["runs"][3]["moved"]) / 2)
    for row in told["runs"]:
        # Two test cases.
        assert {row["frozen"], row["frozen_train"]} <= {0.0, 0.5, 1.0}
        # Two steps at 1e-3 go this far; another draw of the weights would be about 1.4 away.
        assert 0 < row["moved"] < 0.1


def test_ridge_is_the_best_at_cases_left_out() -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(size=(12, 5))
    targets = features @ draws.normal(size=(5, 2)) + draws.normal(size=(12, 2))

    def solve(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        mean, middle = x.mean(0), y.mean(0)
        weights = np.linalg.solve((x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1]), (x - mean).T @ (y - middle))
        return weights, middle - mean @ weights

    # The centre is that of all cases, as in the closed form.
    centred, goal = features - features.mean(0), targets - targets.mean(0)
    errors = {}
    for penalty in study_probe._PENALTIES * np.square(np.linalg.svd(centred)[1]).sum():
        gram = centred.T @ centred + penalty * np.eye(5)
        hat = centred @ np.linalg.solve(gram, centred.T)
        own = np.diag(hat) + 1 / 12
        errors[penalty] = np.square((goal - hat @ goal) / (1 - own)[:, None]).sum()
    best = min(errors, key=lambda penalty: errors[penalty])
    ridge, wanted = fit_ridge(features, targets), solve(features, targets, best)
    np.testing.assert_allclose(ridge.coef_.T, wanted[0], rtol=1e-9)
    np.testing.assert_allclose(ridge.intercept_, wanted[1], rtol=1e-9)
    # Truly left out: the closed form without the case, with an offset of its own.
    left_out = []
    for place in range(12):
        rest = np.arange(12) != place
        own_weights, own_offset = solve(features[rest], targets[rest], best)
        left_out.append(np.square(features[place] @ own_weights + own_offset - targets[place]).sum())
    assert sum(left_out) == pytest.approx(errors[best], rel=1e-6)
