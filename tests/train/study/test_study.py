"""Studies: declared runs are done once, results match their runs, and invalid comparisons raise errors."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from tests.helpers.finetuning import read_csv, write_data
from tests.helpers.prefork import start_parent
from train import finetune, pretrain
from train.data.split.make import load_split
from train.study import __main__ as study
from train.study import runs as study_runs
from train.study.data import split_by_table
from train.study.declared import Data
from train.study.effects import Group, compare
from train.study.file import read_study
from train.study.report import plot as study_plot
from train.study.running import processes
from train.study.running.jobs import Failed, RunQueue
from train.study.running.rates import next_rate
from train.study.runs import Arm, StudyRun, arguments, arms_of
from train.study.scores import case_scores
from train.tasks.classify import log_scores

FILE = """
[protocol]
budgets = [1, "all"]
seeds = [1, 2, 3]
pretrain_seeds = [0, 1]
transfers = ["encoder", "encoder+decoder"]
steps = { early = 1, converged = 2 }
rates = [1e-3, 3e-3]
tuning = { seed = 0, budget = 2, steps = "converged" }
resamples = 200

[finetune]
batch_size = 2

[data.bodies]
images = ["images"]
fractions = [0.5, 0.25, 0.25]
[data.bodies.options]
crop = [16, 16, 16]
filters = 2
[data.bodies.pretrain]
patch = [2, 4]
steps = 1

[tasks.parts]
kind = "segment"
data = "bodies"
labels = "labels"
options = { names = "{data}/names.json" }

[tasks.kinds]
kind = "classify"
data = "bodies"
labels = "classes.csv"
options = { columns = "kind", crop = [24, 24, 24], topology = [16, 16, 16] }

[inits.random]
[inits.swap]
pretrain = { iterations = 4 }
"""


PRIMARY = """
[primary]
measure = "finetuned"
task = "kinds"
budget = 1
steps = "early"
pairs = [["swap", "random"]]
[finetune]"""


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("bodies"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(FILE)
    return path


def settings(file: Path, bodies: Path, **changes: Any) -> study.StudyConfig:
    folder = file.parent
    known = {"data": (f"bodies={bodies}",), "runs": folder / "runs", "results": folder / "results", "device": "cpu"}
    return study.StudyConfig(file=file, **(known | changes))


class Pretended:
    """A queue whose runs only write their results, with scores by a rule, so that the study's results are known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.code: dict[str, int] = {}
        self.width: dict[str, int] = {}
        self._lock = threading.Lock()
        monkeypatch.setattr(RunQueue, "launch", lambda queue, run: self.launch(queue, run))

    def launch(self, queue: RunQueue, run: StudyRun) -> tuple[int, float]:
        with self._lock:
            self.done.append(run.name)
        if self.code.get(run.name):
            queue.log(run).write_text("finetune: the loss became nan at step 1, with the samples [0]\n")
            return self.code[run.name], 0.0
        out = queue.out(run)
        out.mkdir(parents=True, exist_ok=True)
        # As of a run on the CPU, whose weights do not matter here.
        view = {"crop": [16, 16, 16], "batch_size": 2}
        about: dict[str, Any] = {"network": {"view": view}, "commit": "c", "versions": {"dali-cr": "1"}}
        about["device"] = {"type": "cpu", "name": "a CPU", "torch_threads": 1}
        (out / "config.json").write_text(json.dumps(about))
        lines = [{"step": 0, "restoration_gain": -1.0, "changed_share": 0.25}]
        lines += [{"step": run.options["steps"], "restoration_gain": 0.5}]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        width = self.width.get(run.arm.init, 2)
        safetensors.numpy.save_file({"first": np.zeros((width, 1))}, out / "model.safetensors")
        if run.phase != "pretrain":
            self.write_scores(out / "scores.csv", run)
        report = {"run": str(out), "cases": 4 if run.budget == "all" else run.budget, "steps": run.options["steps"]}
        (out / "report.json").write_text(json.dumps(report | {"dice": 0.5, "f1": None}))
        return 0, 90.0

    def write_scores(self, path: Path, run: StudyRun) -> None:
        with open(path, "w", newline="") as text:
            table = csv.writer(text)
            if run.task == "kinds":
                table.writerow(["case", "class", "predicted", "p even", "p odd"])
                table.writerows(
                    [[f"case{n}", "even", ("even", "odd")[(n + run.seed) % 3 == 0], 0.75, 0.25] for n in range(9)]
                )
                return
            table.writerow(["case", "class", "dice", "hd95_mm", "missed"])
            # Better by 0.1 with all labels after all steps, and by 0.2 at the rate of 1e-3.
            gained = 0.1 * (run.arm.init == "swap" and run.length == "converged" and run.budget == "all")
            gained += 0.2 * (run.options["lr"] == 1e-3)
            for n in range(9):
                noise = np.random.default_rng([n, run.seed, len(run.name)]).normal(0, 0.001)
                for one, off in (("a", -0.05), ("b", 0.05)):
                    table.writerow([f"case{n}", one, 0.3 + 0.02 * n + off + gained + noise, 1.0, 0])


def test_lists_runs_without_data(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.command_line([str(file), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Pre-training by two seeds; rates: (3 + 2 initialisations) × 2; tests: 5 ways × 2 lengths × 2 budgets × 3 seeds.
    assert lines[-1] == f"72 runs: 2 to pretrain, 10 to tune, 60 to test; {2 + 20 + 30 + 60} steps"
    assert len(set(lines)) == 73


def test_runs_are_what_the_protocol_says(file: Path) -> None:
    declared = read_study(file)
    assert [arm.label for arm in arms_of(declared, "parts")] == ["random", "swap, encoder", "swap, encoder+decoder"]
    assert [arm.label for arm in arms_of(declared, "kinds")] == ["random", "swap, encoder"]
    rates = {(task, arm): 1e-3 for task in declared.tasks for arm in arms_of(declared, task)}
    tested, tuned = study_runs.testing(declared, rates), study_runs.tuning(declared)
    assert {run.options["score"] for run in tested} == {"test"}
    assert {run.options["score"] for run in tuned} == {"val"}
    assert {run.options["seed"] for run in tuned} == {0}
    assert all(run.options["seed"] == run.options["order-seed"] == run.seed for run in (*tested, *tuned))
    assert {(run.length, run.options["steps"]) for run in tested} == {("early", 1), ("converged", 2)}
    assert {(run.budget, run.options.get("cases")) for run in tested} == {(1, 1), ("all", None)}
    used = Counter((run.seed, run.uses) for run in tested if run.arm.init == "swap")
    assert {(seed, name) for seed, name in used} == {
        (1, "pretrain/bodies/swap-p0"),
        (2, "pretrain/bodies/swap-p1"),
        (3, "pretrain/bodies/swap-p0"),
    }
    first = study_runs.pretraining(declared)[0]
    said = "--crop 16 16 16 --filters 2 --patch 2 4 --steps 1 --iterations 4 --part pool --seed 0"
    assert " ".join(arguments(first.options, Path("/d"))) == said
    line = list(arguments(next(run for run in tuned if run.task == "parts").options, Path("/d")))
    assert line[line.index("--names") + 1] == "/d/names.json"
    assert list(arguments({"a": True, "b": False, "c": [1, 2]}, Path())) == ["--a", "--c", "1", "2"]


@pytest.mark.parametrize("name", ["cpu", "cpu_probe", "cpu_recipe", "gpu", "gpu_recipe", "gpu_short"])
def test_commands_of_the_studies_are_understood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    for command in (pretrain, finetune):
        monkeypatch.setattr(command, "main", lambda config: taken.append(config) or {})
    declared = read_study(Path(study.__file__).parents[1] / "studies" / name / "study.toml")
    folders = {data: Path("/d") / data for data in declared.data}
    queue = RunQueue(study=declared, folder=Path("/r"), folders=folders)
    rates = {(task, arm): 1e-3 for task in declared.tasks for arm in arms_of(declared, task)}
    runs = [*study_runs.pretraining(declared), *study_runs.testing(declared, rates)]
    kinds = {(run.command, run.data, run.task, run.arm, run.length, run.budget == "all"): run for run in runs}
    for run in kinds.values():
        line = queue.command(run)[2:]
        assert (pretrain if run.phase == "pretrain" else finetune).command_line(line[1:]) == 0
        config, wanted = taken.pop(), run.options
        assert (config.steps, config.seed, config.resume) == (wanted["steps"], wanted["seed"], True)
        assert config.out == Path("/r") / run.name
        for option in ("flips", "spacing"):
            if option in wanted:
                assert getattr(config, option) == tuple(wanted[option])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 0, budget", "seed = 3, budget", "not in protocol.seeds, got 3"),
        ('data = "bodies"', 'data = "minds"', "expected data to be one of bodies; got 'minds'"),
        ('kind = "segment"', 'kind = "guess"', "expected kind to be one of segment"),
        ("seeds = [1, 2, 3]", "seeds = [1, 1, 3]", "each once"),
        ('[1, "all"]', '[0, "all"]', "counts of labelled cases"),
        ("rates =", "rate =", "got rate"),
        ("[inits.random]", "[inits.other]", "expected against to name random weights"),
        ('"encoder+decoder"', '"everything"', "got encoder, everything"),
        ("fractions = [0.5, 0.25, 0.25]", 'column = "part"', "fractions, or table"),
        ('steps = "converged"', 'steps = "forever"', "the entry forever, which tuning uses"),
        ("[tasks.parts]", '[tasks."../parts"]', "expected names of letters"),
        ("[finetune]", "[finetunes]", "got finetunes"),
        ('labels = "labels"\n', "", "labels"),
        ("rates = [1e-3, 3e-3]", "rates = [1e-3]\nextend = 1", "protocol.extend: expected 0 with a single rate, got 1"),
        ("[finetune]", '[probe]\nbudgets = [2, "all"]\n[finetune]', 'got "all", of which there is a single draw'),
        ('"classes.csv"', '"classes.csv"\ninits = ["swap"]', "expected random, which swap is compared with"),
        (
            '"classes.csv"',
            '"classes.csv"\ninits = ["mae"]',
            "tasks.kinds.inits: expected some of random, swap; got mae",
        ),
        (
            "[finetune]",
            PRIMARY.replace('"kinds"', '"minds"'),
            "primary.task: expected one of parts, kinds; got 'minds'",
        ),
        ("[finetune]", PRIMARY.replace("budget = 1", "budget = 7"), "primary.budget: expected one of 1, all; got 7"),
        ("[finetune]", PRIMARY.replace('"early"', '"late"'), "primary.steps: expected one of early, converged"),
        ("[finetune]", PRIMARY.replace('["swap", "random"]', '["swap", "mae"]'), "pairs of two of random, swap"),
        (
            "[finetune]",
            PRIMARY.replace('"finetuned"', '"frozen"'),
            r"finetuned in a study without \[probe\], got frozen",
        ),
        (
            "[finetune]",
            "[probe]\nbudgets = [2]\n" + PRIMARY.replace('"finetuned"', '"frozen"').replace('"kinds"', '"parts"'),
            "primary.task: expected one that is probed, of kinds; got 'parts'",
        ),
        (
            "[finetune]",
            PRIMARY.replace("[finetune]", 'transfer = "encoder+decoder"\n[finetune]'),
            "primary.transfer: expected encoder, as kinds is fine-tuned from swap, got 'encoder+decoder'",
        ),
        (
            "[finetune]",
            "[probe]\nbudgets = [2]\n[finetune]\nmultilabel = true",
            "expected a classification task with a single label, the study has none",
        ),
        (
            "resamples = 200",
            "resamples = 200\ncompact = true",
            "compact: expected false, since parts is fine-tuned from the decoder of swap, which is not kept",
        ),
        (
            "iterations = 4",
            "spacing = [2, 2, 2]",
            r"spacing own for parts, as random has, got \[2, 2, 2\] from its pre-training",
        ),
    ],
)
def test_refuses_a_file(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(FILE.replace(old, new))
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        read_study(file)


def test_numbers_are_those_of_the_runs(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Pretended(monkeypatch)
    out = study.main(settings(file, bodies, jobs=3))
    assert sorted(runs.done) == sorted(set(runs.done))
    assert len(runs.done) == 72
    summary = json.loads((out / "summary.json").read_text())
    assert [rate["chosen"] for rate in summary["rates"]] == [1e-3] * 5
    assert {score["lr"] for score in summary["scores"]} == {1e-3}
    effects = {(one["task"], one["init"], one["budget"], one["length"]): one for one in summary["effects"]}
    assert len(effects) == 12
    assert {one["against"] for one in effects.values()} == {"random"}
    good = effects["parts", "swap, encoder", "all", "converged"]
    assert good["mean"] == pytest.approx(0.1, abs=0.01)
    assert good["low"] < good["mean"] < good["high"]
    assert good["verdict"] == "better"
    assert effects["parts", "swap, encoder", 1, "converged"]["verdict"] == "none detected"
    assert effects["kinds", "swap, encoder", "all", "converged"]["p"] == 1
    ranked = sorted(one["p"] for one in effects.values())
    assert good["p_holm"] == pytest.approx(max((12 - n) * p for n, p in enumerate(ranked) if p <= good["p"]))
    assert 0 < good["detectable"] < 0.1
    rows = read_csv(out / "runs.csv")
    assert len(rows) == 70 * 9
    group = [
        r for r in rows if (r["task"], r["init"], r["budget"], r["length"]) == ("parts", "random", "all", "converged")
    ]
    tested = [float(row["score"]) for row in group if row["phase"] == "test"]
    told = next(
        one
        for one in summary["scores"]
        if (one["task"], one["init"], one["budget"], one["length"]) == ("parts", "random", "all", "converged")
    )
    assert len(tested) == 27
    assert told["mean"] == pytest.approx(np.mean(tested), rel=1e-5)
    assert told["sd"] == pytest.approx(np.std(told["by_seed"], ddof=1))
    assert told["cases"] == 4
    assert summary["ran"]["commits"] == ["c"]
    assert summary["ran"]["runs"] == 72
    assert "cores" in summary["ran"]["machine"]
    assert summary["ran"]["cpu_seconds"] == {"pretrain": 2 * 90, "tune": 10 * 90, "test": 60 * 90}
    table = (out / "table.md").read_text()
    assert "none detected" in table
    assert "Primary" not in table
    assert "| bodies | swap | 1 | 25.0% | –, – | 0.500, 0.500 | –, – | 0.0 | 1.5 |" in table
    assert (
        f"| all | swap, encoder − random | {good['mean']:+.3f} | {good['low']:+.3f} to {good['high']:+.3f} |" in table
    )
    assert str(bodies) not in table + (out / "summary.json").read_text() + (out / "runs.csv").read_text()
    assert ET.parse(out / "scores.svg").getroot().tag.endswith("svg")
    assert (out / "study.toml").read_text() == FILE


def test_goes_on_where_it_was_cut(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Pretended(monkeypatch)
    cut = "test/parts/random-early-1-s2"
    runs.code[cut] = 143
    with pytest.raises(Failed, match="1 of 24 runs are not finished .*s2: exit code 143"):
        study.main(settings(file, bodies))
    assert not (file.parent / "results").exists()
    runs.code.clear()
    runs.done.clear()
    out = study.main(settings(file, bodies))
    # Then all runs of the other initialisation.
    assert runs.done[0] == cut
    assert len(runs.done) == 1 + 2 + 6 + 36
    assert json.loads((out / "summary.json").read_text())["ran"]["resumed"] == 1
    study.main(settings(file, bodies))
    assert len(runs.done) == 1 + 2 + 6 + 36
    # What was begun is not changed under way; what is added is done.
    file.write_text(FILE.replace("converged = 2", "converged = 4"))
    with pytest.raises(ValueError, match="a study must not be changed while it runs"):
        study.main(settings(file, bodies))
    file.write_text(FILE.replace("fractions = [0.5", "split_seed = 1\nfractions = [0.5"))
    with pytest.raises(ValueError, match="expected the split of the earlier runs"):
        study.main(settings(file, bodies))
    assert len(runs.done) == 1 + 2 + 6 + 36
    file.write_text(FILE.replace("seeds = [1, 2, 3]", "seeds = [1, 2, 3, 4]"))
    study.main(settings(file, bodies))
    assert len(runs.done) == 1 + 2 + 6 + 36 + 20
    assert len(json.loads((out / "summary.json").read_text())["files"]) == 3


def test_a_rate_that_diverges_is_not_chosen(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Pretended(monkeypatch)
    runs.code["tune/parts/random-0.001"] = 1
    out = study.main(settings(file, bodies))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rates"][0]["val"]["0.001"] is None
    assert summary["rates"][0]["chosen"] == 3e-3
    assert summary["ran"]["diverged"] == ["tune/parts/random-0.001"]
    assert "diverged" in (out / "table.md").read_text()
    runs.done.clear()
    study.main(settings(file, bodies))
    assert runs.done == []


def test_the_primary_comparisons_are_a_family_of_their_own(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Pretended(monkeypatch)
    chosen = PRIMARY.replace('"kinds"', '"parts"').replace("budget = 1", 'budget = "all"').replace("early", "converged")
    file.write_text(FILE.replace("[finetune]", chosen) + "[inits.autoencode]\npretrain = { pretext = 'autoencode' }\n")
    file.write_text(file.read_text().replace('[["swap", "random"]]', '[["swap", "autoencode"], ["swap", "random"]]'))
    out = study.main(settings(file, bodies))
    effects = json.loads((out / "summary.json").read_text())["effects"]
    first, second = (one for one in effects if one["primary"])
    assert [one["init"] for one in (first, second)] == ["swap, encoder"] * 2
    assert [one["against"] for one in (first, second)] == ["autoencode, encoder", "random"]
    assert (first["p"], second["p"]) < (0.02, 0.02)
    assert max(first["p_holm"], second["p_holm"]) == max(first["p"], second["p"], 2 * min(first["p"], second["p"]))
    assert len(effects) - 2 == 24 - 1
    # Three seeds, of which two share a pre-training seed.
    assert first["mean"] == pytest.approx(0.1, abs=0.01)
    text = (out / "table.md").read_text()
    assert text.index("## Primary comparisons") < text.index("## parts")
    assert text.count("swap, encoder − autoencode, encoder") == 1
    assert runs.done.count("pretrain/bodies/autoencode-p0") == 1


def test_random_weights_may_be_the_first_of_a_primary_pair(file: Path) -> None:
    file.write_text(FILE.replace("[finetune]", PRIMARY.replace('["swap", "random"]', '["random", "swap"]')))
    declared, groups = read_study(file), []
    tested = study_runs.testing(declared, {("kinds", arm): 1e-3 for arm in arms_of(declared, "kinds")})
    for place in dict.fromkeys((run.length, run.budget, run.arm) for run in tested):
        runs = tuple(run for run in tested if (run.length, run.budget, run.arm) == place)
        scores = tuple({"a": 0.5 * (run.arm.init == "swap"), "b": 0.25} for run in runs)
        groups.append(
            Group(task="kinds", length=place[0], budget=place[1], arm=place[2], runs=runs, scores=scores, reports=())
        )
    first, *others = compare(declared, groups)
    assert (first.primary, first.init, first.against) == (True, "random", "swap, encoder")
    assert first.interval.mean == -0.25
    assert {(one.primary, one.init, one.interval.mean) for one in others} == {(False, "swap, encoder", 0.25)}


def test_more_rates_are_tried_beyond_the_best_at_an_edge(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Pretended(monkeypatch)
    file.write_text(FILE.replace("rates = [1e-3, 3e-3]", "rates = [1e-3, 3e-3]\nextend = 2"))
    summary = json.loads((study.main(settings(file, bodies)) / "summary.json").read_text())
    # Segmentation is best at 1e-3, by the rule of its scores; of the equal scores of classification the lowest counts.
    by_arm = {(one["task"], one["arm"]): one for one in summary["rates"]}
    assert sorted(map(float, by_arm["parts", "random"]["val"])) == [3.33e-4, 1e-3, 3e-3]
    assert by_arm["parts", "random"]["chosen"] == 1e-3
    assert sorted(map(float, by_arm["kinds", "random"]["val"])) == [1.11e-4, 3.33e-4, 1e-3, 3e-3]
    assert by_arm["kinds", "random"]["chosen"] == 1.11e-4
    done = list(runs.done)
    study.main(settings(file, bodies))
    assert runs.done == done
    assert "| – |" in (file.parent / "results" / "tiny" / "table.md").read_text()


def test_lower_rates_are_tried_if_all_diverge(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Pretended(monkeypatch)
    runs.code = dict.fromkeys(("tune/parts/random-0.001", "tune/parts/random-0.003"), 1)
    file.write_text(FILE.replace("rates = [1e-3, 3e-3]", "rates = [1e-3, 3e-3]\nextend = 1"))
    summary = json.loads((study.main(settings(file, bodies)) / "summary.json").read_text())
    first = summary["rates"][0]
    assert (first["arm"], first["chosen"], first["val"]["0.001"]) == ("random", 3.33e-4, None)
    assert {run["lr"] for run in summary["scores"] if (run["task"], run["init"]) == ("parts", "random")} == {3.33e-4}
    runs.code["tune/parts/random-0.000333"] = 1
    line = [str(file), "--data", f"bodies={bodies}", "--device", "cpu", "--runs", str(file.parent / "other")]
    assert study.command_line(line) == 2
    said = capsys.readouterr().err
    assert "parts from random does not diverge, 0.000333, 0.001, 0.003 do; add lower ones, or raise" in said


def test_the_next_rate() -> None:
    assert next_rate([1e-3], 1e-3) is None
    assert next_rate([1e-3, 3e-4, 3e-3], 3e-4) == pytest.approx(9e-5)
    # Rounded to the digits of names, the next one would be a rate that was tried.
    assert next_rate([1e-3, 1.0004e-3], 1.0004e-3) is None


def test_learning_curves_are_means_of_the_runs(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch)
    file.write_text(FILE.replace("rates = [1e-3, 3e-3]", "rates = [1e-3]\ncurve = 2"))
    written = Pretended.write_scores

    def write_curve(self: Pretended, path: Path, run: StudyRun) -> None:
        written(self, path, run)
        name = "val_accuracy" if run.task == "kinds" else "val_dice"
        lines = [{"step": 1, name: 0.25 * run.seed}, {"step": 2, name: None}, {"step": 3, name: 1.0}]
        (path.parent / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(Pretended, "write_scores", write_curve)
    out = study.main(settings(file, bodies))
    curves = json.loads((out / "summary.json").read_text())["curves"]
    assert len(curves) == 20
    assert {(tuple(one["steps"]), tuple(one["means"])) for one in curves} == {((1, 3), (0.5, 1.0))}
    assert "| 1 | swap, encoder | 0.500 | 1.000 |" in (out / "table.md").read_text()
    declared = read_study(file)
    assert {
        run.options["evaluate-every"]
        for run in study_runs.testing(
            declared, dict.fromkeys(((task, arm) for task in declared.tasks for arm in arms_of(declared, task)), 1e-3)
        )
    } == {1}


def test_refuses_to_compare_other_networks(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Pretended(monkeypatch)
    runs.width["swap"] = 8
    with pytest.raises(
        ValueError, match=r"first is \[2, 1\] in tune/parts/random-0.001 and \[8, 1\] in tune/parts/swap-encoder"
    ):
        study.main(settings(file, bodies))
    assert not any(name.startswith("test/") for name in runs.done if "swap" in name)


def test_commands_end_with_their_codes(file: Path, bodies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.command_line([str(file), "--data", f"minds={bodies}"]) == 2
    assert "expected NAME=PATH with NAME one of bodies; got minds" in capsys.readouterr().err
    assert study.command_line([str(file.parent / "none.toml")]) == 2


def test_data_are_found_by_a_variable(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = read_study(file)
    monkeypatch.delenv("DALI_CR_DATA", raising=False)
    with pytest.raises(ValueError, match="--data bodies=PATH, or set DALI_CR_DATA"):
        study.find_folders(declared, ())
    link = file.parent / "home" / "bodies"
    link.parent.mkdir()
    link.symlink_to(bodies)
    monkeypatch.setenv("DALI_CR_DATA", str(link.parent))
    assert study.find_folders(declared, ()) == {"bodies": link}


def test_a_column_tells_the_split(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        "file,side,part\na/1.nii,l,train\nb/1.nii,r,train\na/2.nii,l,validation\na/3.nii,r,test\na/4.nii,r,\n"
    )
    words = {"train": ["train"], "val": ["validation"], "test": ["test"]}
    earlier = {"pool": words["train"], "val": words["val"], "test": words["test"]}
    for parts in (earlier, words):
        data = Data(table="cases.csv", column="part", parts=parts, subject=r"\w+/\d+")
        split = split_by_table(data, table)
        assert (split.train, split.val, split.test) == ({"a/1", "b/1"}, {"a/2"}, {"a/3"})
    with pytest.raises(ValueError, match="expected the column part"):
        split_by_table(data, write_csv(tmp_path / "other.csv", "case,kind\na,b\n"))


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_scores_of_cases(tmp_path: Path) -> None:
    segments = write_csv(tmp_path / "s.csv", "case,class,dice,hd95_mm,missed\na,x,0.5,2,0\na,y,1.0,4,0\nb,x,0.25,1,0\n")
    assert case_scores(segments, "dice") == {"a": 0.75, "b": 0.25}
    assert case_scores(segments, "hd95_mm") == {"a": 3, "b": 1}
    with pytest.raises(ValueError, match="expected one of dice, hd95_mm, present_but_not_predicted"):
        case_scores(segments, "correct")
    classes = write_csv(tmp_path / "c.csv", "case,class,said,p x,p y\na,x,x,0.75,0.25\nb,y,x,1.0,0.0\n")
    assert case_scores(classes, "correct") == {"a": 1, "b": 0}
    assert case_scores(classes, "log_score") == pytest.approx({"a": np.log(0.75), "b": np.log(1e-6)})
    several = write_csv(tmp_path / "m.csv", "case,class,predicted,p x,p y\na,x|y,x,0.5,0.25\nb,,y,0.5,0.75\n")
    assert case_scores(several, "log_score") == pytest.approx({"a": np.log(0.125), "b": np.log(0.125)})
    assert case_scores(several, "correct") == {"a": 0, "b": 0}
    # The mean of the same scores is the value of the learning curves.
    shares = torch.tensor([[0.75, 0.25], [1.0, 0.0]]), torch.tensor([[0.5, 0.25], [0.5, 0.75]])
    single = log_scores(shares[0], torch.eye(2, dtype=torch.bool))
    assert single.tolist() == pytest.approx(list(case_scores(classes, "log_score").values()))
    both = log_scores(shares[1], torch.tensor([[True, True], [False, False]]), multilabel=True)
    assert both.tolist() == pytest.approx(list(case_scores(several, "log_score").values()))


def test_a_signal_is_passed_on(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting process gets the signal; runs that were not started stay so."""
    monkeypatch.setattr(RunQueue, "command", lambda self, run: ["sh", "-c", f"kill -TERM {os.getpid()}; exec sleep 60"])
    with pytest.raises(Failed, match="4 of 4 runs") as error:
        study.main(settings(file, bodies))
    assert error.value.exit_code == 143


def test_a_run_that_outlived_its_study_is_not_begun_twice(
    file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunQueue, "command", lambda self, run: ["true"])
    log = file.parent / "runs" / "tiny" / "tune" / "kinds" / "random-0.001.log"
    log.parent.mkdir(parents=True)
    with open(log, "ab") as held:
        # A process that holds the log open as its output, as a run does.
        fcntl.flock(held, fcntl.LOCK_EX)
        other = subprocess.Popen(["sleep", "60"], stdout=held)
    try:
        with pytest.raises(Failed, match="tune/kinds/random-0.001 is still in progress"):
            study.main(settings(file, bodies))
    finally:
        other.kill()
        other.wait()
    with pytest.raises(Failed, match="4 of 4 runs are not finished .*exit code 0"):
        study.main(settings(file, bodies))


def test_counts_what_a_run_uses_of_a_processor(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass\nraise SystemExit(3)"
    monkeypatch.setattr(RunQueue, "command", lambda self, run: [sys.executable, "-c", work])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for times in (1, 2):
        with pytest.raises(Failed, match="exit code 3"):
            study.main(settings(file, bodies))
        note = json.loads((file.parent / "runs" / "tiny" / "tune" / "kinds" / "random-0.001.json").read_text())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert 0.3 * times <= note["cpu_seconds"] <= used + 0.1 * times  # noted in tenths
        assert note["attempts"] == times


def test_one_budget_is_drawn_by_initialisation(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pretended(monkeypatch)
    file.write_text(FILE.replace('[1, "all"]', "[1]"))
    drawn: list[list[str]] = []
    draw = study_plot._draw_initialisations

    def keep(panel: Any, *about: Any) -> None:
        draw(panel, *about)
        drawn.append([label.get_text() for label in panel.get_yticklabels()])

    monkeypatch.setattr(study_plot, "_draw_initialisations", keep)
    study.main(settings(file, bodies))
    assert drawn.count(["random", "swap, encoder", "swap, encoder+decoder"]) == 2
    assert drawn.count(["random", "swap, encoder"]) == 2


E2E = {
    '[1, "all"]': "[2]",
    "seeds = [1, 2, 3]": "seeds = [1]",
    "pretrain_seeds = [0, 1]": "pretrain_seeds = [0]",
    'transfers = ["encoder", "encoder+decoder"]': 'transfers = ["encoder+decoder"]',
    "{ early = 1, converged = 2 }": "{ converged = 2 }",
    "[1e-3, 3e-3]": "[1e-3]",
}


def test_end_to_end(file: Path, bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three real runs in separate processes: pre-training, and tests from it and from random weights."""
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(Popen=start_parent().popen))
    text = FILE
    for old, new in E2E.items():
        text = text.replace(old, new)
    file.write_text(text[: text.index("[tasks.kinds]")] + text[text.index("[inits.random]") :])
    line = [str(file), "--data", f"bodies={bodies}", "--jobs", "2", "--device", "cpu"]
    line += ["--runs", str(file.parent / "runs"), "--results", str(file.parent / "results")]
    assert study.command_line(line) == 0
    out = file.parent / "results" / "tiny"
    summary = json.loads((out / "summary.json").read_text())
    assert [one["init"] for one in summary["scores"]] == ["random", "swap"]
    (effect,) = summary["effects"]
    by_init = {
        name: {row["case"]: float(row["score"]) for row in read_csv(out / "runs.csv") if row["init"] == name}
        for name in ("random", "swap")
    }
    split = load_split(file.parent / "runs" / "tiny" / "data" / "bodies.split.json")
    assert {Path(case).name.removesuffix(".nii.gz") for case in by_init["swap"]} == split.test
    differences = [by_init["swap"][case] - by_init["random"][case] for case in by_init["random"]]
    assert effect["mean"] == pytest.approx(np.mean(differences), abs=1e-5)
    assert all(seconds > 0 for seconds in summary["ran"]["seconds"].values())
    run = file.parent / "runs" / "tiny" / "test" / "parts"
    made = json.loads((run / "swap-encoder+decoder-converged-2-s1" / "config.json").read_text())["config"]
    assert (made["transfer"], made["cases"], made["order_seed"], made["score"]) == ("encoder+decoder", 2, 1, "test")
    assert made["init"].endswith("pretrain/bodies/swap-p0")
    arm = Arm("swap", "encoder+decoder")
    assert f"{arm.label}" in (out / "table.md").read_text()
