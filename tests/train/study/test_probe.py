"""Linear probes measure the initial weights of a study's runs, on stratified draws of labelled cases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.finetuning import read_csv, write_data
from train import finetune, pretrain
from train.networks.weights import read_weights
from train.study import __main__ as study
from train.study.file import read_study
from train.study.probe import features as features_module
from train.study.probe.components import predict_classes, reduce
from train.study.probe.features import Encoders
from train.study.probe.frozen import LINEAR, MAJORITY, draw_labelled
from train.study.running.jobs import RunQueue
from train.study.runs import StudyRun, pretraining, probing
from train.tasks.sizing import size_network
from train.tasks.task import TaskInput

FILE = """
[protocol]
budgets = [2]
seeds = [1, 2]
steps = { late = 2 }
rates = [1e-3]
pretrain_seeds = [1, 2]
tuning = { seed = 0, budget = 2, steps = "late" }
resamples = 200
[primary]
measure = "frozen"
task = "kinds"
budget = 2
pairs = [["swap", "random"]]
[probe]
budgets = [2]
draws = 3
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
def test_probes_are_part_of_the_study(tmp_path: Path) -> None:
    bodies, file = write_data(tmp_path / "bodies"), tmp_path / "tiny.toml"
    file.write_text(FILE)
    line = [str(file), "--data", f"bodies={bodies}", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    line += ["--results", str(tmp_path / "results")]
    assert study.command_line(line) == 0
    out = tmp_path / "results" / "tiny"
    told = json.loads((out / "summary.json").read_text())
    rows = read_csv(out / "frozen.csv")
    # Two pre-training seeds, three draws for each initialisation; one seed for each baseline.
    assert Counter(row["init"] for row in rows) == {"random": 6, "swap": 6, LINEAR: 3, MAJORITY: 3}
    assert {len(row["correct"]) for row in rows} == {1 + 2}
    for row in rows:
        assert float(row["accuracy"]) == row["correct"].count("1") / 2
    means = {one["init"]: one["mean"] for one in told["frozen"]}
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean([float(row["accuracy"]) for row in rows if row["init"] == name]))
    (effect,) = (one for one in told["effects"] if one["primary"])
    assert (effect["measure"], effect["init"], effect["against"]) == ("frozen", "swap", "random")
    assert effect["mean"] == pytest.approx(means["swap"] - means["random"])
    assert effect["p_holm"] == effect["p"]
    assert {one["name"] for one in told["baselines"]} == {LINEAR, MAJORITY}
    table = (out / "table.md").read_text()
    assert f"| *{MAJORITY}* |" in table
    assert "linear probes of frozen encoders" in table
    assert "| frozen probe | kinds | 2 | swap − random |" in table


@pytest.mark.usefixtures("in_process")
def test_features_are_of_the_weights_and_intensities_of_the_pretraining(tmp_path: Path) -> None:
    bodies, file = write_data(tmp_path / "bodies"), tmp_path / "tiny.toml"
    changed = FILE.replace("iterations = 4", 'iterations = 4, normalize = "percentile"')
    file.write_text(changed.replace("pretrain_seeds = [1, 2]", "pretrain_seeds = [1]"))
    config = study.StudyConfig(file=file, data=(f"bodies={bodies}",), device="cpu", runs=tmp_path / "runs")
    queue = study.open_queue(config, read_study(file))
    queue.do_all(pretraining(queue.study))
    encoders = Encoders(queue)
    runs = {init: probing(queue.study, "kinds", init, 1) for init in ("random", "swap")}
    opened = {init: encoders._open(run) for init, run in runs.items()}
    assert (opened["random"].view.normalize, opened["swap"].view.normalize) == ("zscore", "percentile")
    known, asked = encoders.features(runs["swap"])
    again, _ = encoders.features(runs["swap"])
    other, _ = encoders.features(probing(queue.study, "kinds", "random", 2))
    first, _ = encoders.features(runs["random"])
    np.testing.assert_array_equal(known.features, again.features)
    assert np.abs(first.features - other.features).max() > 0.01
    assert set(known.cases).isdisjoint(asked.cases)
    np.testing.assert_array_equal(known.targets.sum(1), 1)
    # By hand: the weights of the run, spatial averages, batch norms with the statistics of train.
    images = torch.cat(encoders._images(runs["swap"], opened["swap"])[0])
    network = size_network(opened["swap"].config, opened["swap"].init, opened["swap"].view, 1, 1)
    stored = read_weights(queue.folder / runs["swap"].uses / "model.safetensors")[0]
    network.module.load_state_dict({name: stored[name] for name in network.encoder}, strict=False)
    # As the library does it: running statistics are unbiased, which matters with four cases.
    torch.optim.swa_utils.update_bn([images], network.features)
    network.features.eval()
    with torch.no_grad():
        wanted = network.features(images).flatten(2).mean(2)
    np.testing.assert_allclose(known.features, wanted.numpy(), rtol=1e-3, atol=1e-4)


def numbered(count: int) -> Any:
    """Return an index of cases that have only names."""
    return SimpleNamespace(root=Path(), cases=[SimpleNamespace(name=f"{n}") for n in range(count)])


@pytest.mark.parametrize(("cases", "sizes"), [(1, [1]), (32, [32]), (33, [33]), (34, [32, 2]), (65, [32, 33])])
def test_no_batch_has_a_single_case(cases: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    # Batch norms cannot measure one case whose coarsest features are one voxel.
    monkeypatch.setattr(features_module, "read_case", lambda *_: np.zeros((1, 1, 2, 2), np.float32))
    monkeypatch.setattr(features_module, "outside", lambda *_: 0.0)
    found = features_module.read_batches(numbered(cases), TaskInput(crop=(1, 2, 2), normalize="zscore", dims=2))
    assert [len(batch) for batch in found] == sizes


def test_images_are_those_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "read_batches", lambda index, view: [torch.zeros(len(index.cases))])
    encoders: Any = Encoders(queue=None)  # type: ignore[arg-type]
    view = TaskInput(crop=(1, 2, 2), normalize="zscore", dims=2)
    opened = [SimpleNamespace(view=view, train=numbered(count), test=numbered(2)) for count in (3, 4)]
    found = [encoders._images(SimpleNamespace(data="bodies"), one)[0] for one in opened]
    assert [len(batches[0]) for batches in found] == [3, 4]


def test_draws_are_stratified_and_reproducible() -> None:
    targets = np.eye(3)[[0] * 10 + [1] * 10 + [2] * 2]
    drawn = draw_labelled(targets, 9, 20, seed=3)
    for places in drawn:
        counts = targets[places].sum(0)
        assert len(set(places.tolist())) == 9
        # Three of each class; the rare one has two, and another class one more.
        assert sorted(counts.tolist()) == [2, 3, 4]
        assert counts[2] == 2
    assert [places.tolist() for places in drawn] == [p.tolist() for p in draw_labelled(targets, 9, 20, seed=3)]
    assert len({tuple(places.tolist()) for places in drawn}) > 15
    with pytest.raises(ValueError, match="at most the 22 labelled cases of train, got 23"):
        draw_labelled(targets, 23, 1, seed=0)


def test_principal_components_are_of_train_alone() -> None:
    draws = np.random.default_rng(1)
    train, test = draws.normal(size=(8, 20)), draws.normal(size=(3, 20))
    known, asked = reduce(train, test, 60)
    assert (known.shape, asked.shape) == ((8, 7), (3, 7))
    # As many components as train has: distances are kept.
    np.testing.assert_allclose(np.linalg.norm(known[0] - known[5]), np.linalg.norm(train[0] - train[5]))
    np.testing.assert_allclose(reduce(train, test[:1], 60)[1], asked[:1])


def test_one_labelled_class_is_predicted_for_all() -> None:
    targets = np.eye(3)[[1, 1]]
    assert predict_classes(np.array([[0.0], [1.0]]), targets, np.zeros((4, 1))).tolist() == [1] * 4
