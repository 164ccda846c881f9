"""Saved results: no machine paths, the command of the run, and only finished runs."""

import json
import shlex
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import tyro

from tests.helpers.finetuning import classify, localize, read_csv, run_pretraining, segment, write_data
from train import finetune, pretrain, result
from train.report.invocation import command_of
from train.result import ResultConfig, command_line, main, read_run
from train.run.folder.config_file import plain
from train.tasks.config.segment import Segment
from train.tasks.config.whole import Classify, Localize


def write_run(folder: Path) -> Path:
    folder.mkdir()
    settings = {
        "data": ["/home/somebody/data/msd/images", "/scratch/ct"],
        "out": "/home/somebody/run",
        "index": None,
        "cache": ["host:1GB", "disk:/home/somebody/cache"],
        "lr": 1e-2,
        "steps": 2,
        "batch_size": 4,
    }
    about = {"config": settings, "network": {}, "versions": {}, "commit": None, "device": {"type": "cpu"}}
    (folder / "config.json").write_text(json.dumps(about))
    lines = [
        {"step": 0, "restoration_gain": -3.0, "changed_share": 0.2},
        {"step": 1, "loss": 1.5, "loss_of_idling": 0.2},
        {"step": 2, "loss": 0.5, "loss_of_idling": 0.3},
        {"step": 2, "restoration_gain": 0.4, "changed_share": 0.2},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = {"run": "/home/somebody/run", "steps": 2, "restoration_gain": 0.4, "samples_per_s": 0.5}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_keeps_numbers_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ResultConfig(run=write_run(tmp_path / "run"), out=tmp_path / "kept" / "first")) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "kept" / f"first{end}") for end in (".json", ".png")]
    text = (tmp_path / "kept" / "first.json").read_text()
    assert "somebody" not in text
    assert "scratch" not in text
    result = json.loads(text)
    assert result["settings"]["data"] == ["msd/images", "ct"]
    assert (
        result["command"]
        == "python -m train.pretrain --data msd/images ct --cache host:1GB disk:cache --lr 0.01 --steps 2 "
        "--batch-size 4 --out run"
    )
    assert len(result["measurements"]) == 4
    assert result["report"]["restoration_gain"] == 0.4
    assert result["seconds"] == 2 * 4 / 0.5
    assert matplotlib.image.imread(tmp_path / "kept" / "first.png").shape[:2] == (330, 880)


def test_keeps_what_a_resumed_run_changed_and_draws_pcrlv2(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    about = json.loads((run / "config.json").read_text())
    about["config"]["recipe"] = "pcrlv2"
    about["changes"] = [{"steps": [1, 2], "index": [None, "/home/somebody/index.json"]}]
    (run / "config.json").write_text(json.dumps(about))
    lines = [{"step": 2, "restoration_gain": 0.1, "spread": 0.9}, {"step": 2, "loss": 0.5, "restoration": 0.2}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(ResultConfig(run=run, out=tmp_path / "kept")) == 0
    result = json.loads((tmp_path / "kept.json").read_text())
    assert result["changes"] == [{"steps": [1, 2]}]
    assert "--recipe pcrlv2" in result["command"]
    assert matplotlib.image.imread(tmp_path / "kept.png").shape[:2] == (330, 1210)


@pytest.mark.parametrize("missing", ["config.json", "metrics.jsonl", "report.json"])
def test_refuses_an_unfinished_run(tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / missing).unlink()
    assert main(ResultConfig(run=run, out=tmp_path / "first")) == 2
    assert f"lacks {missing}" in capsys.readouterr().err
    assert not (tmp_path / "first.json").exists()


def test_refuses_a_run_that_was_taken_up_for_more_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    about = json.loads((run / "config.json").read_text())
    about["config"]["steps"] = 9
    (run / "config.json").write_text(json.dumps(about))
    assert command_line([str(run), "--out", str(tmp_path / "first")]) == 2
    assert "a report of 2 of 9 steps" in capsys.readouterr().err


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "bodies")


@pytest.mark.parametrize("make", [segment, classify, localize])
def test_keeps_a_fine_tuning_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    monkeypatch.chdir(tmp_path)
    init = run_pretraining(data, Path("runs/pre"))
    finetune.main(make(data, Path("runs/fine"), init=str(init)))  # type: ignore[operator]
    assert main(ResultConfig(run=Path("runs/fine"), out=tmp_path / "kept")) == 0
    result = json.loads((tmp_path / "kept.json").read_text())
    report, rows = json.loads(Path("runs/fine/report.json").read_text()), read_csv(Path("runs/fine/scores.csv"))
    assert str(data.parent) not in json.dumps(result)
    for name, score in result["scores"]["over_cases"].items():
        assert score["mean"] == pytest.approx(report[name], abs=1e-9)
    assert result["scores"]["cases"] == len({row["case"] for row in rows}) == 2
    assert list(result["scores"]["by_class"]) == result["network"]["task"]["classes"]
    assert result["network"]["split"]["hash"]
    assert result["pretraining"]["steps"] == 1
    before = "python -m train.pretrain --data bodies/images --split splits.json --device cpu --steps 1"
    assert result["pretraining"]["command"].startswith(before)
    assert " --init runs/pre " in result["command"]
    assert ("baseline" in result) == (make is not segment)
    assert matplotlib.image.imread(tmp_path / "kept.png").shape[:2] == (330, 880)
    Path("runs/pre/report.json").unlink()
    with pytest.raises(ValueError, match=r"runs/pre lacks report\.json"):
        read_run(Path("runs/fine"))


_COMMANDS = {
    "train.pretrain": "--data a --out r --patch 2 4 --flips --slices D --dims 2 --crop 1 16 16 --normalize window 0 9",
    "train.pretrain --recipe pcrlv2": "--recipe pcrlv2 --data a --out r --spacing 1.5 1 1 --lr 0.02 --warmup 0.1",
    "train.finetune segment": "--data a --labels l --out r --regions all=1+2 2 --keep-empty --crop 32 48 32 --lr 3e-05",
    "train.finetune classify": "--data a --labels l --split s --out r --multilabel --columns x 'y z' --cache host:1GB",
    "train.finetune localize": "--data a --labels l --init runs/x --out r --shrink 2 2 1 --shift 0 --pattern 'a/*'",
}


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_makes_the_settings_it_was_made_from(command: str) -> None:
    kinds = {"segment": Segment, "classify": Classify, "localize": Localize}
    kind = command.split()[-1].removeprefix("train.")

    def read(words: list[str]) -> Any:
        if "finetune" not in command:
            return pretrain.read_settings(words)
        return tyro.cli(kinds[kind], args=words, config=(tyro.conf.FlagCreatePairsOff,))

    config = read(shlex.split(_COMMANDS[command]))
    network = {"task": {"name": kind}} if "finetune" in command else {}
    words = shlex.split(command_of({"config": plain(config), "network": network}))
    assert words[:3] == ["python", "-m", command.split()[0]]
    assert ("--recipe" in words) == ("pcrlv2" in command)
    left = words[4:] if network else words[3:]
    assert plain(read(left)) == plain(config)
    assert len(left) <= 2 + len(shlex.split(_COMMANDS[command]))


def test_a_command_has_no_setting_that_an_earlier_version_kept_for_another_recipe() -> None:
    config = plain(pretrain.read_settings(["--recipe", "pcrlv2", "--data", "a", "--out", "r"]))
    kept = {"config": {**config, "pretext": "swap", "every": 1}, "network": {}}
    assert command_of(kept) == command_of({"config": config, "network": {}})


@pytest.mark.parametrize(("out", "name"), [("lr0.001", "lr0.001.json"), ("first", "first.json"), ("a.json", "a.json")])
def test_a_dot_belongs_to_the_name(tmp_path, out, name):
    assert result._with(tmp_path / out, ".json") == tmp_path / name
